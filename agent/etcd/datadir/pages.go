package datadir

import (
	"encoding/binary"
	"hash/fnv"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The layout of a bbolt file: https://github.com/etcd-io/bbolt/tree/v1.4.3/internal/common.
const (
	pageHeader  = 16
	elementSize = 16
	metaSize    = 64
	metaMagic   = 0xED0CDAED
	metaVersion = 2

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketFlag   = 0x01
	noFreelist   = ^uint64(0)

	maxDepth = 64 // of pages; a tree of 2^32 keys has fewer than ten levels
)

// pages walks over a database before bbolt does. bbolt trusts what it reads: on a damaged page it may leave its memory, go
// in circles, or count four billion pages that are not there.
type pages struct {
	file     []byte
	size     uint64 // of a page
	end      uint64 // the first page that is not in use
	freelist uint64
	root     uint64
	seen     []bool
}

// checkPages checks that every page of a database's trees is where it belongs, and has what it says it has.
func checkPages(path string) error {
	file, err := openRegular(path)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := readThrough(file)
	if err != nil {
		return err
	}
	if size < 2*pageHeader+2*metaSize {
		return tornf("it has %d bytes", size)
	}
	mapped, err := unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(mapped) }()
	p := &pages{file: mapped}
	if err := p.meta(); err != nil {
		return err
	}
	if err := p.free(); err != nil {
		return err
	}
	return p.walk(p.root, 0)
}

// readThrough reads a file once. A disk that fails to read says so here, and not by a signal when the mapped file is read.
func readThrough(file *os.File) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{file}, make([]byte, 1<<20))
}

// meta takes the newer of the two meta pages that are valid. The other may be from a write that was cut.
func (p *pages) meta() error {
	found, newest := false, uint64(0)
	for _, at := range p.metaPlaces() {
		if uint64(len(p.file)) < at+pageHeader+metaSize {
			continue
		}
		m := p.file[at+pageHeader:][:metaSize]
		sum := fnv.New64a()
		_, _ = sum.Write(m[:56])
		if u32(m, 0) != metaMagic || u32(m, 4) != metaVersion || u64(m, 56) != sum.Sum64() {
			continue
		}
		if id := u64(m, 48); !found || id > newest {
			found, newest = true, id
			p.size, p.root, p.freelist, p.end = uint64(u32(m, 8)), u64(m, 16), u64(m, 32), u64(m, 40)
		}
	}
	switch {
	case !found:
		return tornf("neither of its two meta pages is valid")
	case p.size < 1024 || p.size&(p.size-1) != 0 || p.size > 64<<10:
		return tornf("it has pages of %d bytes", p.size)
	case p.end > uint64(len(p.file))/p.size:
		return tornf("it ends after %d bytes, and has %d pages of %d", len(p.file), p.end, p.size)
	}
	p.seen = make([]bool, p.end)
	return nil
}

// metaPlaces are where the two meta pages may begin: the second one follows the first, whose size only they know.
func (p *pages) metaPlaces() []uint64 {
	if size := uint64(u32(p.file, pageHeader+8)); u32(p.file, pageHeader) == metaMagic && size >= 1024 && size <= 64<<10 {
		return []uint64{0, size}
	}
	return []uint64{0, uint64(os.Getpagesize())}
}

// page is a page with those that overflow from it.
func (p *pages) page(id uint64) (all []byte, err error) {
	if id < 2 || id >= p.end {
		return nil, tornf("page %d is out of bounds, which are 2 and %d", id, p.end)
	}
	head := p.file[id*p.size:]
	overflow := uint64(u32(head, 12))
	if u64(head, 0) != id {
		return nil, tornf("page %d says that it is page %d", id, u64(head, 0))
	}
	if overflow >= p.end-id {
		return nil, tornf("page %d overflows to %d pages, and the last is %d", id, overflow, p.end-1)
	}
	for n := id; n <= id+overflow; n++ {
		if p.seen[n] {
			return nil, tornf("page %d is referred to twice", n)
		}
		p.seen[n] = true
	}
	return head[:(overflow+1)*p.size], nil
}

// free checks the list of free pages, where there is one: etcd writes none.
func (p *pages) free() error {
	if p.freelist == noFreelist {
		return nil
	}
	list, err := p.page(p.freelist)
	if err != nil {
		return blame("the list of free pages", err)
	}
	count, begin := uint64(u16(list, 10)), uint64(pageHeader)
	if count == 0xFFFF {
		count, begin = u64(list, pageHeader), pageHeader+8
	}
	if u16(list, 8) != freelistPage || count > (uint64(len(list))-begin)/8 {
		return tornf("page %d is no list of free pages", p.freelist)
	}
	for i := range count {
		if id := u64(list, begin+8*i); id < 2 || id >= p.end {
			return tornf("the list of free pages has page %d", id)
		}
	}
	return nil
}

// walk checks the tree below a page, and the trees of the buckets in it.
func (p *pages) walk(id uint64, depth int) error {
	if depth > maxDepth {
		return tornf("page %d is %d levels deep", id, depth)
	}
	all, err := p.page(id)
	if err != nil {
		return err
	}
	return p.elements(id, all, depth)
}

func (p *pages) elements(id uint64, all []byte, depth int) error {
	kind, count := u16(all, 8), uint64(u16(all, 10))
	if count*elementSize > uint64(len(all))-pageHeader {
		return tornf("page %d has %d elements, more than fit", id, count)
	}
	if kind != leafPage && (kind != branchPage || count == 0) {
		return tornf("page %d is of kind %#x with %d elements", id, kind, count)
	}
	for i := range count {
		at := pageHeader + i*elementSize
		var err error
		if kind == branchPage {
			err = p.branch(id, all[at:], depth)
		} else {
			err = p.leaf(id, all[at:], depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// branch checks an element of a branch page, from where it stands on.
func (p *pages) branch(id uint64, e []byte, depth int) error {
	if uint64(u32(e, 0))+uint64(u32(e, 4)) > uint64(len(e)) {
		return tornf("page %d has a key that leaves it", id)
	}
	return p.walk(u64(e, 8), depth+1)
}

func (p *pages) leaf(id uint64, e []byte, depth int) error {
	begin, key, value := uint64(u32(e, 4)), uint64(u32(e, 8)), uint64(u32(e, 12))
	if begin+key+value > uint64(len(e)) {
		return tornf("page %d has a value that leaves it", id)
	}
	if u32(e, 0)&bucketFlag == 0 {
		return nil
	}
	bucket := e[begin+key:][:value]
	if len(bucket) < 16 {
		return tornf("page %d has a bucket of %d bytes", id, len(bucket))
	}
	if root := u64(bucket, 0); root != 0 {
		return p.walk(root, depth+1)
	}
	if inline := bucket[16:]; len(inline) >= pageHeader && depth < maxDepth && u16(inline, 8) == leafPage {
		return p.elements(id, inline, depth+1)
	}
	return tornf("page %d has a bucket that is none", id)
}

func u16(b []byte, at uint64) uint16 { return binary.NativeEndian.Uint16(b[at:]) }
func u32(b []byte, at uint64) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
func u64(b []byte, at uint64) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
