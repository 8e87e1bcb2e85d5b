package gossip

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"sync"

	"github.com/hashicorp/memberlist"
)

// memberlist's wire format, as its security.go, label.go and net.go have it:
//
//	packet: label header, sealed message               authenticated along: the label
//	stream: label header, 10, length (4 bytes), sealed authenticated along: 10, length, label
//	sealed: 1, nonce (12 bytes), ciphertext, tag (16 bytes)
const (
	labelByte     = 244
	streamByte    = 10 // an encrypted stream
	sealVersion   = 1
	nonceSize     = 12
	tagSize       = 16
	sealOverhead  = 1 + nonceSize + tagSize
	streamHeader  = 5 // type and length
	maxStreamBody = 2 << 20
)

// The reasons for which bytes from the network are refused.
const (
	refusedMalformed = "malformed" // not the wire format, or metadata that makes no sense
	refusedLabel     = "label"     // of another cluster, or of none
	refusedKey       = "key"       // none of our keys opens it, or somebody changed it
	refusedReplayed  = "replayed"  // opened before, or from a process that is known to be gone
	refusedCluster   = "cluster"   // our label and key, and metadata of another cluster
	refusedBusy      = "busy"      // more connections at once than are read
)

var refusedReasons = []string{
	refusedMalformed, refusedLabel, refusedKey, refusedReplayed, refusedCluster, refusedBusy,
}

// opener opens what nodes of the cluster sealed.
type opener struct {
	label string
	ring  *memberlist.Keyring // what memberlist itself uses

	mu    sync.RWMutex
	keys  []cipher.AEAD
	nonce nonces
}

// newOpener takes a ring that was checked.
func newOpener(label string, r Keyring) (*opener, error) {
	ring, err := memberlist.NewKeyring(nil, r.Primary.Secret[:])
	if err != nil {
		return nil, err
	}
	o := &opener{label: label, ring: ring}
	return o, o.set(r)
}

// set replaces the keys.
func (o *opener) set(r Keyring) error {
	var keys []cipher.AEAD
	for _, k := range r.all() {
		block, err := aes.NewCipher(k.Secret[:])
		if err != nil {
			return err
		}
		key, err := cipher.NewGCM(block)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := install(o.ring, r); err != nil {
		return err
	}
	o.keys = keys
	return nil
}

// install makes ring hold the keys of r.
//
// memberlist's RemoveKey moves the keys that follow within a slice that its readers hold without a lock; only the removal
// of the last one moves none. So what follows a superfluous key goes too, and comes back.
func install(ring *memberlist.Keyring, r Keyring) error {
	wanted := map[Secret]bool{}
	for _, k := range r.all() {
		wanted[k.Secret] = true
		if err := ring.AddKey(k.Secret[:]); err != nil {
			return err
		}
	}
	if err := ring.UseKey(r.Primary.Secret[:]); err != nil {
		return err
	}
	superfluous := func() bool {
		for _, key := range ring.GetKeys() {
			if !wanted[Secret(key)] {
				return true
			}
		}
		return false
	}
	for superfluous() {
		keys := ring.GetKeys()
		if err := ring.RemoveKey(keys[len(keys)-1]); err != nil {
			return err
		}
	}
	for _, k := range r.Others {
		if err := ring.AddKey(k.Secret[:]); err != nil {
			return err
		}
	}
	return nil
}

// packet says why a packet is refused, or "".
func (o *opener) packet(data []byte) string {
	sealed, label, err := memberlist.RemoveLabelHeaderFromPacket(data)
	if err != nil {
		return refusedMalformed
	}
	if label != o.label {
		return refusedLabel
	}
	return o.open(sealed, []byte(label))
}

// stream says why what came after the label header of a stream is refused, or "".
func (o *opener) stream(data []byte) string {
	return o.open(data[streamHeader:], append(data[:streamHeader:streamHeader], o.label...))
}

func (o *opener) open(sealed, along []byte) string {
	// Not even one byte is what memberlist would index an empty message for.
	if len(sealed) <= sealOverhead || sealed[0] != sealVersion {
		return refusedMalformed
	}
	nonce := [nonceSize]byte(sealed[1:])
	o.mu.RLock()
	keys := o.keys
	o.mu.RUnlock()
	for _, key := range keys {
		if _, err := key.Open(nil, nonce[:], sealed[1+nonceSize:], along); err != nil {
			continue
		}
		if o.nonce.again(nonce) {
			return refusedReplayed
		}
		return ""
	}
	return refusedKey
}

// streamSize is how many bytes follow the header of a stream; 0: not one that is read.
func streamSize(header []byte) int {
	size := binary.BigEndian.Uint32(header[1:])
	if header[0] != streamByte || size <= sealOverhead || size > maxStreamBody {
		return 0
	}
	return int(size)
}

// manyNonces is how many are remembered at least; an idle node needs about an hour for as many.
const manyNonces = 8192

// nonces remembers the random numbers of the last messages. What is replayed later than that is for the incarnation
// numbers of memberlist. Eight bytes of each tell them apart.
type nonces struct {
	mu       sync.Mutex
	new, old map[uint64]struct{}
}

// again remembers a nonce and tells whether it was there.
func (n *nonces) again(nonce [nonceSize]byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	start := binary.BigEndian.Uint64(nonce[:])
	_, isNew := n.new[start]
	_, isOld := n.old[start]
	if isNew || isOld {
		return true
	}
	if n.new == nil || len(n.new) == manyNonces {
		n.new, n.old = map[uint64]struct{}{}, n.new
	}
	n.new[start] = struct{}{}
	return false
}
