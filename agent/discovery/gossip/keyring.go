package gossip

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	maxKeys        = 4        // of a ring: one or two, and three while somebody hurries
	maxKeyringSize = 16 << 10 // bytes of the document
)

// Secret is the key of AES-256-GCM. It prints as "(secret)", whatever the verb.
type Secret [32]byte

// Format implements fmt.Formatter.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "(secret)") }

// Key is one key of a ring.
type Key struct {
	ID string // says which key is meant where the key itself must not be told
	// Made is for people, and tells the younger of two keys of a ring from the older: see Next.
	Made   time.Time
	Secret Secret
}

// Keyring is what a cluster's nodes encrypt with (Primary) and understand (Primary and Others).
//
// A key is replaced in three steps, and no node is cut off as long as every node has reloaded the ring between two of
// them: WithNew, so that all understand the new key; WithPrimary, so that all use it; Without, so that none understands
// the old one.
type Keyring struct {
	Primary Key
	Others  []Key
}

// NewKeyring is a ring with one new random key.
func NewKeyring(now time.Time) Keyring { return Keyring{Primary: newKey(now)} }

func newKey(now time.Time) Key {
	k := Key{Made: now.UTC().Truncate(time.Second)}
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	_, _ = rand.Read(k.Secret[:])
	k.ID = hex.EncodeToString(id[:])
	return k
}

// WithNew is the ring with one more random key, which nobody uses yet.
func (r Keyring) WithNew(now time.Time) (Keyring, error) {
	r.Others = append(slices.Clone(r.Others), newKey(now))
	return r, r.check()
}

// WithPrimary is the ring that encrypts with the key of that ID.
func (r Keyring) WithPrimary(id string) (Keyring, error) {
	all := r.all()
	i := slices.IndexFunc(all, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return r, fmt.Errorf("keyring: no key %q", id)
	}
	primary := all[i]
	return Keyring{Primary: primary, Others: slices.Delete(all, i, i+1)}, nil
}

// Without is the ring that no longer understands the key of that ID.
func (r Keyring) Without(id string) (Keyring, error) {
	if r.Primary.ID == id {
		return r, fmt.Errorf("keyring: key %q is the primary one: make another one primary first", id)
	}
	i := slices.IndexFunc(r.Others, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return r, fmt.Errorf("keyring: no key %q", id)
	}
	r.Others = slices.Delete(slices.Clone(r.Others), i, i+1)
	return r, nil
}

// all are the keys, the primary one first.
func (r Keyring) all() []Key { return append([]Key{r.Primary}, r.Others...) }

// keyringFile is the document. Unknown fields are errors: a ring that is half understood locks nodes out.
type keyringFile struct {
	Primary string    `json:"primary"`
	Keys    []keyFile `json:"keys"`
}

type keyFile struct {
	ID   string    `json:"id"`
	Made time.Time `json:"made"`
	Key  string    `json:"key"` // base64 of 32 bytes
}

// ParseKeyring reads a ring's document:
//
//	{"primary": "5f0c9a1e", "keys": [{"id": "5f0c9a1e", "made": "2026-01-02T03:04:05Z", "key": "<base64 of 32 bytes>"}]}
//
// Errors name keys by their ID and never hold a secret.
func ParseKeyring(data []byte) (Keyring, error) {
	var r Keyring
	if len(data) > maxKeyringSize {
		return r, fmt.Errorf("keyring: %d bytes: at most %d", len(data), maxKeyringSize)
	}
	var file keyringFile
	in := json.NewDecoder(bytes.NewReader(data))
	in.DisallowUnknownFields()
	if err := in.Decode(&file); err != nil {
		return r, fmt.Errorf("keyring: %w", err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return r, errors.New("keyring: something follows the document")
	}
	found := false
	for _, k := range file.Keys {
		key := Key{ID: k.ID, Made: k.Made}
		secret, err := base64.StdEncoding.Strict().DecodeString(k.Key)
		if err != nil || len(secret) != len(key.Secret) {
			return Keyring{}, fmt.Errorf("keyring: key %q: must be base64 of %d bytes", k.ID, len(key.Secret))
		}
		copy(key.Secret[:], secret)
		if k.ID == file.Primary && !found {
			r.Primary, found = key, true
		} else {
			r.Others = append(r.Others, key)
		}
	}
	if !found {
		return Keyring{}, fmt.Errorf("keyring: primary is %q, and no key has that id", file.Primary)
	}
	if err := r.check(); err != nil {
		return Keyring{}, err
	}
	return r, nil
}

// Encode is the ring's document, with its secrets: for the store's private part or an SSM SecureString only.
func (r Keyring) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	file := keyringFile{Primary: r.Primary.ID}
	for _, k := range r.all() {
		file.Keys = append(file.Keys, keyFile{k.ID, k.Made, base64.StdEncoding.EncodeToString(k.Secret[:])})
	}
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return append(data, '\n'), nil
}

// check refuses a ring that would not protect: without a key, with one of zeros, or with two that cannot be told apart.
func (r Keyring) check() error {
	all := r.all()
	if len(all) > maxKeys {
		return fmt.Errorf("keyring: %d keys: at most %d; remove one that nobody uses", len(all), maxKeys)
	}
	for i, k := range all {
		switch {
		case k.Secret == Secret{}:
			return errors.New("keyring: a key is missing or all zeros; gossip never runs unencrypted")
		case k.ID == "" || len(k.ID) > maxWord || !word(k.ID):
			return fmt.Errorf("keyring: id %q: 1 to %d letters, digits and . _ + -", k.ID, maxWord)
		}
		for _, other := range all[:i] {
			if other.ID == k.ID || other.Secret == k.Secret {
				return fmt.Errorf("keyring: keys %q and %q are the same", other.ID, k.ID)
			}
		}
	}
	return nil
}
