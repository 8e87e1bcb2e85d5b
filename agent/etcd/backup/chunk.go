package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
)

// ErrDamaged says that a backup is not what was stored: no repetition helps, another backup must be used. All other errors
// of reading mean that the truth is unknown.
var ErrDamaged = errors.New("the backup is damaged")

// Damaged makes an error ErrDamaged without changing its words: for a delta function of Verify, say.
func Damaged(err error) error { return damage{err} }

// damage is an error that is ErrDamaged and does not repeat its words.
type damage struct{ error }

func (d damage) Unwrap() error        { return d.error }
func (d damage) Is(target error) bool { return target == ErrDamaged }

// Decoder returns a decoder for Chunk.Decode. It holds no more than a chunk, whatever a frame claims.
func Decoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(ChunkSize))
}

// Decode makes the database's bytes of a frame and checks them: length bytes, with the chunk's digest. Buffer is written
// over when it is large enough. An error is ErrDamaged.
func (c Chunk) Decode(decoder *zstd.Decoder, frame, buffer []byte, length int64) ([]byte, error) {
	data, err := decoder.DecodeAll(frame, buffer[:0])
	switch {
	case err != nil:
		return nil, damage{err}
	case int64(len(data)) != length:
		return nil, damage{fmt.Errorf("%d bytes, want %d", len(data), length)}
	}
	return data, c.check(data, blake3Faster())
}

// check compares with one of the digests: both are in the manifest, so both are vouched for alike.
func (c Chunk) check(data []byte, byBLAKE3 bool) error {
	name, got, want := "blake3", "", c.BLAKE3
	if byBLAKE3 {
		got = blake3Of(data)
	} else {
		name, got, want = "sha256", sha256Of(data), c.SHA256
	}
	if got != want {
		return damage{fmt.Errorf("%s is %s, want %s", name, got, want)}
	}
	return nil
}

// blake3Faster is found by measuring, once: the CPU's flags do not tell.
var blake3Faster = sync.OnceValue(func() bool {
	block := make([]byte, 64<<10)
	return fastest(func() { blake3Of(block) }) <= fastest(func() { sha256Of(block) })
})

func fastest(work func()) time.Duration {
	best := time.Duration(1<<63 - 1)
	for range 3 {
		start := time.Now()
		work()
		best = min(best, time.Since(start))
	}
	return best
}

func sha256Of(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func blake3Of(data []byte) string {
	sum := blake3.Sum256(data)
	return hex.EncodeToString(sum[:])
}
