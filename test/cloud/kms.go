package cloud

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

var kmsOperations = map[string]operation{
	"Encrypt":     encrypt,
	"Decrypt":     decrypt,
	"DescribeKey": describeKey,
}

// The states of a key.
const (
	KeyEnabled         = "Enabled"
	KeyDisabled        = "Disabled"
	KeyPendingDeletion = "PendingDeletion"
)

// maxPlaintext is what Encrypt takes at most, in bytes.
const maxPlaintext = 4096

// Key is a symmetric key of KMS. The exported fields never change.
//
// The account's administrator may use it. Roles may what Allow says, and other accounts nothing.
type Key struct {
	ID      string
	ARN     string
	Created time.Time

	cloud *Cloud
	// What follows is guarded by cloud.mu.
	state   string
	aead    cipher.AEAD
	allowed map[string][]string // role -> actions
}

// CreateKey makes a key with these aliases, each "alias/NAME". An alias that exists moves to the new key.
func (c *Cloud) CreateKey(aliases ...string) *Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", c.rand.Uint32(), c.rand.Uint32()>>16, c.rand.Uint32()>>20, c.rand.Uint32()>>20, c.rand.Uint64()>>16)
	k := &Key{
		ID: id, ARN: c.arn("kms", c.opts.Region, "key/"+id), Created: c.now(),
		cloud: c, state: KeyEnabled, aead: c.newAEAD(), allowed: map[string][]string{},
	}
	c.kms[id] = k
	for _, alias := range aliases {
		c.aliases[alias] = k
	}
	return k
}

func (c *Cloud) newAEAD() cipher.AEAD {
	block, err := aes.NewCipher([]byte(c.randomText(24))) // of which base64 makes 32
	if err != nil {
		panic(err) // the length is right
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the block size that GCM wants
	}
	return aead
}

// Allow lets sessions of a role do these: Encrypt, Decrypt, DescribeKey. It replaces what they could do before.
func (k *Key) Allow(role string, actions ...string) {
	k.cloud.mu.Lock()
	defer k.cloud.mu.Unlock()
	k.allowed[role] = slices.Clone(actions)
}

// SetState enables or disables the key, or has it wait for its deletion.
func (k *Key) SetState(state string) {
	k.cloud.mu.Lock()
	defer k.cloud.mu.Unlock()
	k.state = state
}

// mayUse tells whether the caller may do what is asked for with a key.
func (a *call) mayUse(k *Key) bool {
	if a.caller.account != a.opts.AccountID {
		return false
	}
	return a.caller.role == "" || slices.Contains(k.allowed[a.caller.role], a.action)
}

// key finds the key that an id, an alias or the ARN of either names, and checks that the caller may use it now.
func (a *call) key(name string) (*Key, error) {
	rest := strings.TrimPrefix(name, a.arn("kms", a.opts.Region, ""))
	k := a.aliases[rest]
	switch {
	case k != nil:
	case strings.HasPrefix(rest, "alias/"):
		return nil, errorf(400, "NotFoundException", "Alias %s is not found.", a.arn("kms", a.opts.Region, rest))
	case rest != name && !strings.HasPrefix(rest, "key/"):
		return nil, errorf(400, "NotFoundException", "Invalid arn %s", name)
	default:
		k = a.kms[strings.TrimPrefix(rest, "key/")]
	}
	if k == nil || rest == name && strings.HasPrefix(rest, "key/") {
		return nil, errorf(400, "NotFoundException", "Invalid keyId %s", name)
	}
	if !a.mayUse(k) {
		return nil, errorf(400, "AccessDeniedException", "User: %s is not authorized to perform: kms:%s on resource: %s because no "+
			"identity-based policy allows the kms:%s action", a.caller.arn, a.action, k.ARN, a.action)
	}
	return k, nil
}

// usable refuses a key whose state lets nothing be encrypted or decrypted.
func (k *Key) usable() error {
	switch k.state {
	case KeyDisabled:
		return errorf(400, "DisabledException", "%s is disabled.", k.ARN)
	case KeyPendingDeletion:
		return errorf(400, "KMSInvalidStateException", "%s is pending deletion.", k.ARN)
	}
	return nil
}

// What is encrypted is the key's id, a nonce and AES-GCM under the key, with the encryption context as further data.
const blobVersion = "\x01\x02"

type kmsInput struct {
	KeyID             string `json:"KeyId"`
	Plaintext         []byte
	CiphertextBlob    []byte
	EncryptionContext map[string]string
}

// further is the encryption context in one spelling: JSON sorts the keys.
func (in kmsInput) further() ([]byte, error) { return json.Marshal(in.EncryptionContext) }

func encrypt(a *call) (any, error) {
	in, err := input[kmsInput](a)
	if err != nil {
		return nil, err
	}
	k, err := a.key(in.KeyID)
	if err != nil {
		return nil, err
	}
	if n := len(in.Plaintext); n == 0 || n > maxPlaintext {
		return nil, errorf(400, "ValidationException", "1 validation error detected: Value at 'plaintext' failed to satisfy "+
			"constraint: Member must have length between 1 and %d", maxPlaintext)
	}
	further, err := in.further()
	if err != nil {
		return nil, err
	}
	if err := k.usable(); err != nil {
		return nil, err
	}
	nonce := []byte(a.randomText(k.aead.NonceSize()))[:k.aead.NonceSize()]
	blob := append([]byte(blobVersion+k.ID), nonce...)
	return map[string]any{
		"CiphertextBlob": k.aead.Seal(blob, nonce, in.Plaintext, further), "KeyId": k.ARN, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
	}, nil
}

func decrypt(a *call) (any, error) {
	in, err := input[kmsInput](a)
	if err != nil {
		return nil, err
	}
	further, err := in.further()
	if err != nil {
		return nil, err
	}
	invalid := errorf(400, "InvalidCiphertextException", "")
	rest, ok := strings.CutPrefix(string(in.CiphertextBlob), blobVersion)
	if !ok || len(rest) < 36 {
		return nil, invalid
	}
	k := a.kms[rest[:36]]
	if k == nil || !a.mayUse(k) {
		return nil, errorf(400, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does "+
			"not exist in this region, or you are not allowed to access.")
	}
	if in.KeyID != "" {
		named, err := a.key(in.KeyID)
		if err != nil {
			return nil, err
		}
		if named != k {
			return nil, errorf(400, "IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
		}
	}
	if err := k.usable(); err != nil {
		return nil, err
	}
	sealed := []byte(rest[36:])
	if len(sealed) < k.aead.NonceSize() {
		return nil, invalid
	}
	plain, err := k.aead.Open(nil, sealed[:k.aead.NonceSize()], sealed[k.aead.NonceSize():], further)
	if err != nil {
		return nil, invalid
	}
	return map[string]any{"Plaintext": plain, "KeyId": k.ARN, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}, nil
}

func describeKey(a *call) (any, error) {
	in, err := input[kmsInput](a)
	if err != nil {
		return nil, err
	}
	k, err := a.key(in.KeyID)
	if err != nil {
		return nil, err
	}
	return map[string]any{"KeyMetadata": map[string]any{
		"KeyId": k.ID, "Arn": k.ARN, "AWSAccountId": a.opts.AccountID, "KeyState": k.state, "Enabled": k.state == KeyEnabled,
		"KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT", "KeyManager": "CUSTOMER", "Origin": "AWS_KMS",
		"CreationDate": float64(k.Created.UnixMilli()) / 1000,
	}}, nil
}
