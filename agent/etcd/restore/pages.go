package restore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// bbolt panics, in a goroutine of its own, when it opens a database whose pages make no sense, and would take the agent
// with it. So they are looked at first, with every bound checked. The layout is that of bbolt's internal/common, which its
// authors keep stable (version 2).
const (
	pageHeader  = 16 // id uint64, flags uint16, count uint16, overflow uint32
	element     = 16 // branch: pos, ksize uint32, page uint64; leaf: flags, pos, ksize, vsize uint32
	bucketValue = 16 // root uint64, sequence uint64; a root of 0 is followed by the only page
	metaLength  = 64

	branchPage, leafPage, freelistPage = 0x01, 0x02, 0x10

	boltMagic, boltVersion = 0xED0CDAED, 2
	noFreelist             = 1<<64 - 1
	deepest                = 64 // more levels than any tree has
)

// pages is a database file, mapped.
type pages struct {
	data []byte
	size uint64   // of a page
	high uint64   // pages that are or were in use
	seen []uint64 // a bit for each
}

// checkPages tells whether bbolt can open a database file. Its error is ErrCorrupt, or one of the disk.
func checkPages(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return disk(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return disk(err)
	}
	if info.Size() < 2*512 {
		return corrupt("a file of %d bytes is no database", info.Size())
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return disk(&os.PathError{Op: "mmap", Path: path, Err: err})
	}
	err = walk(data)
	if problem := unix.Munmap(data); problem != nil {
		return disk(problem)
	}
	if err != nil {
		return corrupt("database: %w", err)
	}
	return nil
}

// walk looks at every page that the database's root leads to.
func walk(data []byte) error {
	meta, size, err := newestMeta(data)
	if err != nil {
		return err
	}
	p := &pages{data: data, size: uint64(size), high: binary.LittleEndian.Uint64(meta[40:])}
	if p.high < 2 || p.high > uint64(len(data))/p.size {
		return fmt.Errorf("%d pages of %d bytes, in a file of %d", p.high, p.size, len(data))
	}
	p.seen = make([]uint64, p.high/64+1)
	p.seen[0] = 3 // the two metas
	if list := binary.LittleEndian.Uint64(meta[32:]); list != noFreelist {
		if err := p.freelist(list); err != nil {
			return err
		}
	}
	_, err = p.tree(binary.LittleEndian.Uint64(meta[16:]), nil, nil, 0)
	return err
}

// newestMeta finds the valid meta of the last transaction, as bbolt does: the second one lies at the page size of the first, or,
// if that is torn, at one of those in use.
func newestMeta(data []byte) (newest []byte, size int, err error) {
	var last uint64
	sizes := []int{512, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16}
	if meta, own := metaAt(data, 0); meta != nil {
		newest, size, last = meta, own, binary.LittleEndian.Uint64(meta[48:])
		sizes = []int{own}
	}
	for _, at := range sizes {
		meta, own := metaAt(data, at)
		if meta == nil || own != at {
			continue
		}
		if id := binary.LittleEndian.Uint64(meta[48:]); newest == nil || id > last {
			newest, size, last = meta, own, id
		}
	}
	if newest == nil {
		return nil, 0, errors.New("both meta pages are invalid")
	}
	return newest, size, nil
}

func metaAt(data []byte, at int) (meta []byte, size int) {
	if at+pageHeader+metaLength > len(data) {
		return nil, 0
	}
	meta = data[at+pageHeader:][:metaLength]
	h := fnv.New64a()
	h.Write(meta[:56])
	size = int(binary.LittleEndian.Uint32(meta[8:]))
	if binary.LittleEndian.Uint32(meta) != boltMagic || binary.LittleEndian.Uint32(meta[4:]) != boltVersion ||
		binary.LittleEndian.Uint64(meta[56:]) != h.Sum64() || size < 512 || size > 1<<16 || size&(size-1) != 0 {
		return nil, 0
	}
	return meta, size
}

// page returns a page with its overflow, once.
func (p *pages) page(id uint64) (page []byte, flags, count int, err error) {
	if id < 2 || id >= p.high {
		return nil, 0, 0, fmt.Errorf("page %d of %d", id, p.high)
	}
	page = p.data[id*p.size:]
	flags, count = int(binary.LittleEndian.Uint16(page[8:])), int(binary.LittleEndian.Uint16(page[10:]))
	more := uint64(binary.LittleEndian.Uint32(page[12:]))
	if own := binary.LittleEndian.Uint64(page); own != id {
		return nil, 0, 0, fmt.Errorf("page %d calls itself %d", id, own)
	}
	if more >= p.high-id {
		return nil, 0, 0, fmt.Errorf("page %d goes on for %d pages, of %d", id, more, p.high)
	}
	for i := id; i <= id+more; i++ {
		if p.seen[i/64]&(1<<(i%64)) != 0 {
			return nil, 0, 0, fmt.Errorf("page %d is used twice", i)
		}
		p.seen[i/64] |= 1 << (i % 64)
	}
	return page[:(more+1)*p.size], flags, count, nil
}

// tree looks at the pages below id, whose keys lie in [low, high), and returns the greatest of them. nil: no bound.
func (p *pages) tree(id uint64, low, high []byte, depth int) (last []byte, err error) {
	page, flags, count, err := p.page(id)
	if err != nil {
		return nil, err
	}
	if depth > deepest {
		return nil, fmt.Errorf("page %d: more than %d levels", id, deepest)
	}
	switch flags {
	case leafPage:
		last, err = p.leaf(page, count, low, high, depth)
	case branchPage:
		last, err = p.branch(page, count, low, high, depth)
	default:
		err = fmt.Errorf("flags %#x", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return last, nil
}

func (p *pages) branch(page []byte, count int, low, high []byte, depth int) (last []byte, err error) {
	if count == 0 {
		return nil, errors.New("a branch without leaves")
	}
	last = low
	for i := range count {
		key, child, err := branchElement(page, i)
		if err != nil {
			return nil, err
		}
		if err := ordered(key, last, high, i > 0); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		end := high
		if i+1 < count {
			if end, _, err = branchElement(page, i+1); err != nil {
				return nil, err
			}
		}
		if last, err = p.tree(child, key, end, depth+1); err != nil {
			return nil, err
		}
	}
	return last, nil
}

func branchElement(page []byte, i int) (key []byte, child uint64, err error) {
	at := pageHeader + i*element
	if at+element > len(page) {
		return nil, 0, fmt.Errorf("element %d is outside", i)
	}
	e := page[at:]
	start := uint64(at) + uint64(binary.LittleEndian.Uint32(e))
	end := start + uint64(binary.LittleEndian.Uint32(e[4:]))
	if end > uint64(len(page)) {
		return nil, 0, fmt.Errorf("element %d ends outside", i)
	}
	return page[start:end], binary.LittleEndian.Uint64(e[8:]), nil
}

func (p *pages) leaf(page []byte, count int, low, high []byte, depth int) (last []byte, err error) {
	last = low
	for i := range count {
		at := pageHeader + i*element
		if at+element > len(page) {
			return nil, fmt.Errorf("element %d is outside", i)
		}
		e := page[at:]
		start := uint64(at) + uint64(binary.LittleEndian.Uint32(e[4:]))
		middle := start + uint64(binary.LittleEndian.Uint32(e[8:]))
		end := middle + uint64(binary.LittleEndian.Uint32(e[12:]))
		if end > uint64(len(page)) {
			return nil, fmt.Errorf("element %d ends outside", i)
		}
		key := page[start:middle]
		if err := ordered(key, last, high, i > 0); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		last = key
		if binary.LittleEndian.Uint32(e)&1 != 0 {
			if err := p.bucket(page[middle:end], depth); err != nil {
				return nil, fmt.Errorf("bucket %q: %w", key, err)
			}
		}
	}
	return last, nil
}

// bucket looks at a bucket within a bucket; a small one lies in its value.
func (p *pages) bucket(value []byte, depth int) error {
	if len(value) < bucketValue {
		return fmt.Errorf("%d bytes", len(value))
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		_, err := p.tree(root, nil, nil, depth+1)
		return err
	}
	page := value[bucketValue:]
	if len(page) < pageHeader || binary.LittleEndian.Uint16(page[8:]) != leafPage {
		return errors.New("no page in it")
	}
	_, err := p.leaf(page, int(binary.LittleEndian.Uint16(page[10:])), nil, nil, depth+1)
	return err
}

// ordered compares a key with its bounds: the one before it, which it may equal only as the first below its parent's, and end.
func ordered(key, before, end []byte, strict bool) error {
	if c := bytes.Compare(before, key); before != nil && (c > 0 || strict && c == 0) {
		return fmt.Errorf("key %x after %x", key, before)
	}
	if end != nil && bytes.Compare(key, end) >= 0 {
		return fmt.Errorf("key %x is not below %x", key, end)
	}
	return nil
}

// freelist looks at the list of free pages. etcd does not keep one; bbolt reads it when it is there.
func (p *pages) freelist(id uint64) error {
	page, flags, count, err := p.page(id)
	if err != nil {
		return fmt.Errorf("free pages: %w", err)
	}
	from, entries := pageHeader, uint64(count)
	if count == 0xFFFF {
		entries, from = binary.LittleEndian.Uint64(page[pageHeader:]), pageHeader+8
	}
	if flags != freelistPage || entries > uint64(len(page)-from)/8 {
		return fmt.Errorf("free pages: %d of them in %d bytes, flags %#x", entries, len(page), flags)
	}
	for i := range entries {
		if free := binary.LittleEndian.Uint64(page[uint64(from)+i*8:]); free < 2 || free >= p.high {
			return fmt.Errorf("free pages: page %d of %d", free, p.high)
		}
	}
	return nil
}
