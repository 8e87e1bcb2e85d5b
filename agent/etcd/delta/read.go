package delta

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// What the encoder and the decoder of zstd keep of what came before, in bytes. The decoder's is larger, so that the other may
// grow.
const (
	window    = 1 << 20
	maxWindow = 8 << 20
)

// Read reads a delta and is satisfied only with all of it: digest, order, numbers, nothing after the end. ErrDamaged:
// these bytes are no delta. Any other error is that of r, or says that a newer agent wrote it.
func Read(r io.Reader) (*Delta, error) {
	s := &source{from: bufio.NewReaderSize(r, 64<<10), hash: blake3.New()}
	d, err := read(s)
	if s.err != nil { // the store's trouble, not the delta's
		return nil, fmt.Errorf("delta: %w", s.err)
	}
	if ended := s.end(); ended != nil {
		return nil, fmt.Errorf("delta: %w", ended)
	}
	if err != nil {
		return nil, fmt.Errorf("delta: %w", err)
	}
	return d, nil
}

func read(s *source) (*Delta, error) {
	h, err := readHeader(s)
	if err != nil {
		return nil, err
	}
	packed, err := zstd.NewReader(s, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(2*MaxSize))
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	body := bufio.NewReaderSize(packed, 64<<10)
	d := &Delta{Header: *h}
	if d.Changes, err = readEvents(body, h.Events, MaxSize); err != nil {
		return nil, damaged(err)
	}
	if d.Leases, err = readLeases(body); err != nil {
		return nil, damaged(fmt.Errorf("leases: %w", err))
	}
	if _, err := body.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, damaged(errors.New("something follows the leases"))
	}
	return d, d.Check()
}

func readHeader(s *source) (*Header, error) {
	start := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(s, start); err != nil || string(start[:len(magic)]) != magic {
		return nil, damaged(errors.New("it does not begin as one"))
	}
	length := binary.BigEndian.Uint32(start[len(magic):])
	if length > maxHeader {
		return nil, damaged(fmt.Errorf("a header of %d bytes", length))
	}
	raw := make([]byte, length)
	if _, err := io.ReadFull(s, raw); err != nil {
		return nil, damaged(fmt.Errorf("header: %w", err))
	}
	var h Header
	if err := json.Unmarshal(raw, &h); err != nil {
		return nil, damaged(fmt.Errorf("header: %w", err))
	}
	if h.Version > FormatVersion {
		return nil, fmt.Errorf("its format %d is newer than %d, which this agent reads: update rekindle", h.Version, FormatVersion)
	}
	if again, err := json.Marshal(h); err != nil || h.Version < 1 || !bytes.Equal(again, raw) {
		return nil, damaged(fmt.Errorf("a header that was not written so: %.200q", raw))
	}
	return &h, nil
}

// readEvents reads n events that take no more than room, in bytes as size counts them.
func readEvents(r *bufio.Reader, n, room int) ([]mvccpb.Event, error) {
	var all []mvccpb.Event
	scratch := make([]byte, 16<<10)
	for i := range n {
		kind, err := r.ReadByte()
		if err != nil {
			return nil, fmt.Errorf("event %d of %d: %w", i, n, err)
		}
		raw, err := readRecord(r, scratch, room-overhead)
		if err != nil {
			return nil, fmt.Errorf("event %d of %d: %w", i, n, err)
		}
		var kv mvccpb.KeyValue
		if err := kv.Unmarshal(raw); err != nil { // copies
			return nil, fmt.Errorf("event %d of %d: %w", i, n, err)
		}
		all = append(all, mvccpb.Event{Type: mvccpb.Event_EventType(kind), Kv: &kv})
		room -= size(&all[i])
	}
	return all, nil
}

// readRecord reads a length and as many bytes, into scratch if they fit. Otherwise it grows with what arrives, not with
// what was announced.
func readRecord(r *bufio.Reader, scratch []byte, room int) ([]byte, error) {
	length, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if room < 0 || length > uint64(room) {
		return nil, fmt.Errorf("%d bytes where %d have room", length, max(0, room))
	}
	if length <= uint64(len(scratch)) {
		_, err := io.ReadFull(r, scratch[:length])
		return scratch[:length], err
	}
	var raw bytes.Buffer
	_, err = io.CopyN(&raw, r, int64(length))
	return raw.Bytes(), err
}

func readLeases(r *bufio.Reader) ([]Lease, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil || n > MaxLeases {
		return nil, fmt.Errorf("%d of them, %w", n, errors.Join(err, errors.New("a number that cannot be")))
	}
	var all []Lease
	for range n {
		var l Lease
		for _, field := range []*int64{&l.ID, &l.TTL, &l.Remaining} {
			if *field, err = binary.ReadVarint(r); err != nil {
				return nil, err
			}
		}
		all = append(all, l)
	}
	return all, nil
}

func damaged(err error) error { return fmt.Errorf("%w: %w", ErrDamaged, err) }

// source holds back the last bytes of a stream, the digest, and sums up the rest as it is read.
type source struct {
	from *bufio.Reader
	hash *blake3.Hasher
	err  error // of the stream below, other than its end
}

func (s *source) Read(p []byte) (int, error) {
	ahead, err := s.from.Peek(min(len(p), 32<<10) + digestSize)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
		return 0, err
	}
	n := copy(p, ahead[:max(0, len(ahead)-digestSize)])
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	_, _ = s.hash.Write(p[:n]) // never an error
	_, err = s.from.Discard(n) // was peeked
	return n, err
}

// end reads what is left and compares the digest.
func (s *source) end() error {
	if _, err := io.Copy(io.Discard, io.LimitReader(s, 2*MaxSize)); err != nil {
		return err
	}
	digest, err := io.ReadAll(io.LimitReader(s.from, digestSize+1))
	if err != nil {
		return err
	}
	if !bytes.Equal(digest, s.hash.Sum(nil)) {
		return damaged(errors.New("its digest differs"))
	}
	return nil
}
