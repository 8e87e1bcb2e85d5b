package pki

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	explain "rekindle/agent/aws"
	"rekindle/agent/status"
)

// Sealer encrypts the private keys of a record before they leave the node: AES-256-GCM under a data key of its own, which
// KMS wraps. Whoever can read the bucket then still needs kms:Decrypt, with the cluster and the authority as encryption
// context (https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html).
type Sealer struct {
	// KeyID is the KMS key of new seals: an ARN, an id or an alias. Empty: nothing new is sealed.
	KeyID string
	// Encrypt and Decrypt are the KMS client's.
	Encrypt func(context.Context, *kms.EncryptInput, ...func(*kms.Options)) (*kms.EncryptOutput, error)
	Decrypt func(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
}

// Sealed is the private keys of a record, encrypted.
type Sealed struct {
	KMSKey  string `json:"kmsKey"`  // its ARN
	DataKey []byte `json:"dataKey"` // wrapped by KMS
	Nonce   []byte `json:"nonce"`
	Keys    []byte `json:"keys"` // AES-256-GCM of a JSON list: a private key, or "", for each generation
}

// dataKeySize makes it AES-256.
const dataKeySize = 32

// seals tells whether new records are to be sealed.
func (s *Sealer) seals() bool { return s != nil && s.KeyID != "" }

// seal returns the record with its keys sealed under a KMS key. Every seal has a data key of its own, so no nonce is used
// twice.
func (s *Sealer) seal(ctx context.Context, r *Record, keyID string) (*Record, error) {
	if s == nil || s.Encrypt == nil {
		return nil, status.Fail(status.ReasonPKIBlocked, "let this node reach KMS", errors.New("seal: there is no KMS here"))
	}
	keys := make([]string, len(r.Generations))
	out := r.clone()
	for i := range out.Generations {
		keys[i] = string(out.Generations[i].Key)
		out.Generations[i].Key = ""
	}
	plain, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	dataKey := make([]byte, dataKeySize)
	_, _ = rand.Read(dataKey) // never fails: crypto/rand aborts the process instead
	wrapped, err := s.Encrypt(ctx, &kms.EncryptInput{KeyId: &keyID, Plaintext: dataKey, EncryptionContext: sealContext(r)})
	if err != nil {
		return nil, fmt.Errorf("seal: %w", sealError(err, "kms:Encrypt", keyID))
	}
	gcm, err := newGCM(dataKey)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	nonce := make([]byte, gcm.NonceSize())
	_, _ = rand.Read(nonce)
	out.Sealed = &Sealed{KMSKey: aws.ToString(wrapped.KeyId), DataKey: wrapped.CiphertextBlob, Nonce: nonce}
	out.Sealed.Keys = gcm.Seal(nil, nonce, plain, sealedWith(out))
	return out, nil
}

// open returns the record with its keys in clear. One that is not sealed comes back as it is.
func (s *Sealer) open(ctx context.Context, r *Record) (*Record, error) {
	if r.Sealed == nil {
		return r, nil
	}
	if s == nil || s.Decrypt == nil {
		return nil, status.Fail(status.ReasonPKIBlocked, "let this node reach KMS",
			fmt.Errorf("%s: it is sealed under %s, and there is no KMS here", PrivateKey(r.Name), r.Sealed.KMSKey))
	}
	in := &kms.DecryptInput{CiphertextBlob: r.Sealed.DataKey, EncryptionContext: sealContext(r)}
	if r.Sealed.KMSKey != "" {
		in.KeyId = &r.Sealed.KMSKey
	}
	unwrapped, err := s.Decrypt(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("%s: unseal: %w", PrivateKey(r.Name), sealError(err, "kms:Decrypt", r.Sealed.KMSKey))
	}
	out, err := unseal(r, unwrapped.Plaintext)
	if err != nil {
		return nil, fmt.Errorf("%s: unseal: %w", PrivateKey(r.Name), status.Fail(status.ReasonPKIBlocked,
			"restore an older version of the object, and find out who wrote this one", err))
	}
	return out, nil
}

func unseal(r *Record, dataKey []byte) (*Record, error) {
	gcm, err := newGCM(dataKey)
	if err != nil {
		return nil, err
	}
	if len(r.Sealed.Nonce) != gcm.NonceSize() {
		return nil, errors.New("the nonce has the wrong size")
	}
	plain, err := gcm.Open(nil, r.Sealed.Nonce, r.Sealed.Keys, sealedWith(r))
	if err != nil {
		return nil, errors.New("it was changed after it was sealed")
	}
	var keys []string
	if err := json.Unmarshal(plain, &keys); err != nil || len(keys) != len(r.Generations) {
		return nil, errors.New("what was sealed are not the keys of these generations")
	}
	out := r.clone()
	out.Sealed = nil
	for i, key := range keys {
		out.Generations[i].Key = KeyText(key)
	}
	return out, out.validate()
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != dataKeySize {
		return nil, fmt.Errorf("a data key of %d bytes", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func sealContext(r *Record) map[string]string {
	return map[string]string{"rekindle:cluster": r.Cluster, "rekindle:authority": r.Name}
}

// sealedWith is what a seal vouches for besides the keys: whose they are, and what is trusted with them.
func sealedWith(r *Record) []byte {
	out := fmt.Appendf(nil, "rekindle pki %d %q %q", r.Version, r.Cluster, r.Name)
	for _, g := range r.Generations {
		out = fmt.Appendf(out, " %q %q", g.Certificate, g.PublicKey)
	}
	for _, fingerprint := range r.Retired {
		out = fmt.Appendf(out, " %q", fingerprint)
	}
	return out
}

// sealError says what to do about an answer of KMS.
func sealError(err error, action, key string) error {
	var (
		disabled *types.DisabledException
		state    *types.KMSInvalidStateException
		missing  *types.NotFoundException
		invalid  *types.InvalidCiphertextException
		other    *types.IncorrectKeyException
	)
	hint := ""
	switch {
	case explain.Denied(err):
		hint = "allow " + action + " on " + key + " to the role that runs this, in its policy and in the key's"
	case errors.As(err, &disabled):
		hint = "enable the key: aws kms enable-key --key-id " + key
	case errors.As(err, &state):
		hint = "the key cannot be used in its state: if it is to be deleted, aws kms cancel-key-deletion --key-id " + key
	case errors.As(err, &missing):
		hint = "the key is not in this account and region: correct pki.kmsKey, and name the region with aws.region"
	case errors.As(err, &invalid), errors.As(err, &other):
		hint = "the record was sealed for another cluster or authority, or changed: restore an older version of the object"
	default:
		return explain.Explain(err)
	}
	return status.Fail(status.ReasonPKIBlocked, hint, err)
}
