package delta

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// The format, in order:
//
//	magic
//	4 bytes, big endian: the length of the header
//	the header, JSON as encoding/json writes it
//	one zstd stream: for each event its kind (1 byte), a length (uvarint) and mvccpb.KeyValue; then the number of leases
//	  (uvarint) and for each its ID, TTL and remaining seconds (varints)
//	32 bytes: BLAKE3 of everything before
//
// BLAKE3, as for assets and snapshots: many EC2 types lack SHA instructions, and there it is several times as fast as
// SHA-256. The sum is of the bytes as they are stored, so any bit that differs is noticed.
const (
	magic      = "rekindle delta\n"
	maxHeader  = 4 << 10
	digestSize = 32
)

// Write writes a delta. The same delta gives the same bytes. It refuses one that Read would refuse.
func Write(w io.Writer, d *Delta) error {
	header := d.Header
	header.Version = FormatVersion
	header.Events = len(d.Changes)
	header.Taken = header.Taken.UTC()
	whole := Delta{Header: header, Changes: d.Changes, Leases: d.Leases}
	if err := whole.Check(); err != nil {
		return fmt.Errorf("delta %d..%d: %w", d.Base, d.Last, err)
	}
	hash := blake3.New()
	both := io.MultiWriter(w, hash)
	if err := writeHeader(both, header); err != nil {
		return fmt.Errorf("delta %d..%d: header: %w", d.Base, d.Last, err)
	}
	if err := writeBody(both, &whole); err != nil {
		return fmt.Errorf("delta %d..%d: %w", d.Base, d.Last, err)
	}
	if _, err := w.Write(hash.Sum(nil)); err != nil {
		return fmt.Errorf("delta %d..%d: digest: %w", d.Base, d.Last, err)
	}
	return nil
}

func writeHeader(w io.Writer, h Header) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(raw) > maxHeader {
		return fmt.Errorf("%d bytes, more than %d", len(raw), maxHeader)
	}
	start := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(raw)))
	_, err = w.Write(append(start, raw...))
	return err
}

func writeBody(w io.Writer, d *Delta) error {
	// One encoder: with more of them the bytes depend on how many CPUs there are.
	packed, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithWindowSize(window), zstd.WithZeroFrames(true))
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(packed, 64<<10)
	var scratch []byte
	for i := range d.Changes {
		if scratch, err = appendEvent(scratch[:0], &d.Changes[i]); err != nil {
			return err
		}
		if _, err := buffered.Write(scratch); err != nil {
			return err
		}
	}
	if _, err := buffered.Write(appendLeases(scratch[:0], d.Leases)); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return packed.Close()
}

func appendEvent(to []byte, e *mvccpb.Event) ([]byte, error) {
	length := e.Kv.Size()
	to = append(to, byte(e.Type))
	to = binary.AppendUvarint(to, uint64(length))
	at := len(to)
	to = append(to, make([]byte, length)...)
	n, err := e.Kv.MarshalToSizedBuffer(to[at:])
	if err == nil && n != length {
		err = fmt.Errorf("key %q: %d bytes of protobuf where %d were announced", e.Kv.Key, n, length)
	}
	return to, err
}

func appendLeases(to []byte, all []Lease) []byte {
	to = binary.AppendUvarint(to, uint64(len(all)))
	for _, l := range all {
		to = binary.AppendVarint(to, l.ID)
		to = binary.AppendVarint(to, l.TTL)
		to = binary.AppendVarint(to, l.Remaining)
	}
	return to
}
