package assets

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"
	"time"

	"github.com/zeebo/blake3"
)

// digest is one of the two ways to verify a chunk. Both are in the manifest, so both are vouched for alike.
type digest struct {
	name string
	new  func() hash.Hash
	of   func(Chunk) string
}

var (
	bySHA256 = digest{"sha256", sha256.New, func(c Chunk) string { return c.SHA256 }}
	byBLAKE3 = digest{"blake3", func() hash.Hash { return blake3.New() }, func(c Chunk) string { return c.BLAKE3 }}
)

// fastest is the digest that this CPU computes faster, found by measuring it (about one millisecond, once): CPU
// flags do not tell, since on x86 BLAKE3 wins by its AVX2 code even over SHA instructions, while on arm64, where it
// has no such code, SHA-256 wins by its instructions.
var fastest = sync.OnceValue(func() digest {
	if speed(byBLAKE3) <= speed(bySHA256) {
		return byBLAKE3
	}
	return bySHA256
})

// speed is the best of three times, so that a preempted run does not decide.
func speed(d digest) time.Duration {
	block := make([]byte, 64<<10)
	h := d.new()
	best := time.Duration(1<<63 - 1)
	for range 3 {
		start := time.Now()
		h.Write(block)
		h.Sum(nil)
		best = min(best, time.Since(start))
		h.Reset()
	}
	return best
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

func sha256Of(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}
