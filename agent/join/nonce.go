package join

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"
)

const (
	nonceLife = 2 * time.Minute
	// maxUsed bounds the nonces that are remembered as used: some 550 joins a second, more than a master can verify.
	maxUsed = 1 << 16
)

// A nonce is the time since the process started, random bytes, and a MAC over both and the cluster. Nothing is kept of a
// nonce until it is used, so asking for them costs no memory. The key is the process' own: a nonce of another master, or of
// before a restart, is none.
const (
	nonceTime   = 8
	nonceRandom = 16
	nonceSize   = nonceTime + nonceRandom + sha256.Size
)

type nonceID [nonceRandom]byte

// nonces gives out nonces and takes each back once.
type nonces struct {
	cluster string
	key     [sha256.Size]byte
	start   time.Time // with its monotonic clock: a step of the wall clock changes no nonce's age

	mu     sync.Mutex
	used   map[nonceID]struct{} // since turned
	older  map[nonceID]struct{} // in the nonceLife before that
	turned time.Time
}

func newNonces(cluster string) *nonces {
	n := &nonces{cluster: cluster, start: time.Now(), turned: time.Now(), used: map[nonceID]struct{}{}}
	rand.Read(n.key[:]) // never fails
	return n
}

func (n *nonces) issue() string {
	raw := make([]byte, nonceTime+nonceRandom, nonceSize)
	binary.BigEndian.PutUint64(raw, uint64(time.Since(n.start)))
	rand.Read(raw[nonceTime:])
	return base64.RawURLEncoding.EncodeToString(append(raw, n.mac(raw)...))
}

func (n *nonces) mac(head []byte) []byte {
	h := hmac.New(sha256.New, n.key[:])
	h.Write(head)
	h.Write([]byte(n.cluster))
	return h.Sum(nil)
}

// use takes a nonce back. From then on it is used, whatever becomes of the request that brought it: what failed once
// cannot be tried again, and a node that meant well fetches another nonce.
func (n *nonces) use(nonce string) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != nonceSize {
		return refuse(BadNonce, "not a nonce of this protocol")
	}
	head := raw[:nonceTime+nonceRandom]
	if !hmac.Equal(raw[len(head):], n.mac(head)) {
		return refuse(BadNonce, "of another master, or of before its restart")
	}
	age := time.Since(n.start) - time.Duration(binary.BigEndian.Uint64(head))
	if age < 0 || age >= nonceLife {
		return refuse(BadNonce, "it expired %s ago", (age - nonceLife).Round(time.Second))
	}
	id := nonceID(head[nonceTime:])

	n.mu.Lock()
	defer n.mu.Unlock()
	n.turn()
	if _, ok := n.used[id]; ok {
		return refuse(Replayed, "the nonce was used before")
	}
	if _, ok := n.older[id]; ok {
		return refuse(Replayed, "the nonce was used before")
	}
	if len(n.used) >= maxUsed {
		return refuse(Busy, "%d nonces were used in %s", maxUsed, nonceLife)
	}
	n.used[id] = struct{}{}
	return nil
}

// turn forgets what has expired: what was used before the last two turns was given out more than nonceLife ago.
func (n *nonces) turn() {
	since := time.Since(n.turned)
	if since < nonceLife {
		return
	}
	n.older = n.used
	if since >= 2*nonceLife {
		n.older = nil
	}
	n.used, n.turned = map[nonceID]struct{}{}, time.Now()
}
