package pki

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"rekindle/agent/status"
)

const kmsARN = "arn:aws-cn:kms:cn-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// fakeKMS keeps what it encrypted, by ciphertext.
type fakeKMS struct {
	kept    map[string]*kms.EncryptInput
	refuses error
}

func newKMS() *fakeKMS { return &fakeKMS{kept: map[string]*kms.EncryptInput{}} }

func (k *fakeKMS) sealer() *Sealer {
	return &Sealer{KeyID: "alias/pki", Encrypt: k.encrypt, Decrypt: k.decrypt}
}

func (k *fakeKMS) encrypt(_ context.Context, in *kms.EncryptInput, _ ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	if k.refuses != nil {
		return nil, k.refuses
	}
	sum := sha256.Sum256(in.Plaintext)
	k.kept[string(sum[:])] = &kms.EncryptInput{Plaintext: bytes.Clone(in.Plaintext), EncryptionContext: maps.Clone(in.EncryptionContext)}
	return &kms.EncryptOutput{CiphertextBlob: sum[:], KeyId: aws.String(kmsARN)}, nil
}

func (k *fakeKMS) decrypt(_ context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	if k.refuses != nil {
		return nil, k.refuses
	}
	was := k.kept[string(in.CiphertextBlob)]
	if was == nil || !maps.Equal(was.EncryptionContext, in.EncryptionContext) || aws.ToString(in.KeyId) != kmsARN {
		return nil, &types.InvalidCiphertextException{}
	}
	return &kms.DecryptOutput{Plaintext: was.Plaintext}, nil
}

func TestSealedRecord(t *testing.T) {
	records, box := newMemory(), newKMS()
	sealing := testVault(records)
	sealing.Seal = box.sealer()
	a, err := sealing.Private(t.Context(), Etcd)
	if err != nil {
		t.Fatal(err)
	}
	text := records.records[PrivateKey(Etcd)]
	if strings.Contains(text, "PRIVATE KEY") || !strings.Contains(text, kmsARN) {
		t.Errorf("the record is not sealed:\n%s", text)
	}
	want := map[string]string{"rekindle:cluster": "prod", "rekindle:authority": "etcd"}
	for _, in := range box.kept {
		if len(in.Plaintext) != 32 || !maps.Equal(in.EncryptionContext, want) {
			t.Errorf("wrapped %d bytes under %v", len(in.Plaintext), in.EncryptionContext)
		}
	}
	plain := testVault(records) // configured without a seal: it opens all the same
	plain.Seal = &Sealer{Encrypt: box.encrypt, Decrypt: box.decrypt}
	again, err := plain.Private(t.Context(), Etcd)
	if err != nil || !fits(again.Key, a.Key.Public()) {
		t.Errorf("opened: %v", err)
	}
	if _, err := plain.Rotate(t.Context(), Etcd, StepBegin, Guard{}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(records.records[PrivateKey(Etcd)], "PRIVATE KEY") {
		t.Error("a rotation without a configured seal left the keys in clear")
	}
	_, err = testVault(records).Private(t.Context(), Etcd)
	wantReason(t, err, status.ReasonPKIBlocked, "let this node reach KMS")
}

func TestReseal(t *testing.T) {
	records, box := newMemory(), newKMS()
	a, err := testVault(records).Private(t.Context(), ServiceAccount)
	if err != nil {
		t.Fatal(err)
	}
	vault := testVault(records)
	vault.Seal = box.sealer()
	for i, want := range []bool{true, false} {
		if changed, err := vault.Reseal(t.Context(), ServiceAccount, false); err != nil || changed != want {
			t.Errorf("seal %d: changed %v, error %v", i, changed, err)
		}
	}
	before := records.records[PrivateKey(ServiceAccount)]
	if changed, err := vault.Reseal(t.Context(), ServiceAccount, true); err != nil || !changed || records.records[PrivateKey(ServiceAccount)] == before {
		t.Errorf("again: changed %v, error %v", changed, err)
	}
	if b, err := vault.Private(t.Context(), ServiceAccount); err != nil || !fits(b.Key, a.Key.Public()) {
		t.Errorf("opened: %v", err)
	}
	if _, err := vault.Reseal(t.Context(), Etcd, false); !errors.Is(err, ErrAbsent) {
		t.Errorf("what is not there: %v", err)
	}
	_, err = testVault(records).Reseal(t.Context(), ServiceAccount, false)
	wantReason(t, err, status.ReasonPKIBlocked, "--kms-key")
}

// Whatever is changed of a sealed record, it does not open.
func TestTamperedSeal(t *testing.T) {
	box := newKMS()
	bundle, foreign := made(t, Etcd), made(t, Etcd)
	bundle.Certificates = append(bundle.Certificates, made(t, Etcd).Certificates[0])
	record, err := newRecord("prod", "i-1", bundle, start)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := box.sealer().seal(t.Context(), record, "alias/pki")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *Record){
		"another cluster":     func(r *Record) { r.Cluster = "dev" },
		"another authority":   func(r *Record) { r.Name = Kubernetes },
		"another version":     func(r *Record) { r.Version = 2 },
		"the keys":            func(r *Record) { r.Sealed.Keys[0] ^= 1 },
		"the nonce":           func(r *Record) { r.Sealed.Nonce[0] ^= 1 },
		"a shorter nonce":     func(r *Record) { r.Sealed.Nonce = r.Sealed.Nonce[1:] },
		"the data key":        func(r *Record) { r.Sealed.DataKey[0] ^= 1 },
		"another certificate": func(r *Record) { r.Generations[0].Certificate = string(foreign.CertificatePEM()) },
		"another to trust":    func(r *Record) { r.Generations[1].Certificate = string(foreign.CertificatePEM()) },
		"one more to trust": func(r *Record) {
			r.Generations = append(r.Generations, Generation{Certificate: string(foreign.CertificatePEM())})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := sealed.clone()
			s := *sealed.Sealed
			s.Keys, s.Nonce, s.DataKey = bytes.Clone(s.Keys), bytes.Clone(s.Nonce), bytes.Clone(s.DataKey)
			r.Sealed = &s
			if _, err := box.sealer().open(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			change(r)
			_, err := box.sealer().open(t.Context(), r)
			wantReason(t, err, status.ReasonPKIBlocked, "restore an older version")
		})
	}
}

func TestSealErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		hint string
	}{
		{&smithy.GenericAPIError{Code: "AccessDeniedException"}, "kms:Decrypt on " + kmsARN},
		{&types.DisabledException{}, "aws kms enable-key --key-id " + kmsARN},
		{&types.KMSInvalidStateException{}, "cancel-key-deletion"},
		{&types.NotFoundException{}, "pki.kmsKey"},
		{&types.InvalidCiphertextException{}, "another cluster or authority"},
		{&types.IncorrectKeyException{}, "another cluster or authority"},
	} {
		box := newKMS()
		sealed, err := box.sealer().seal(t.Context(), recordOf(t, Etcd), "alias/pki")
		if err != nil {
			t.Fatal(err)
		}
		box.refuses = test.err
		_, err = box.sealer().open(t.Context(), sealed)
		wantReason(t, err, status.ReasonPKIBlocked, test.hint)
		if !errors.Is(err, test.err) {
			t.Errorf("%v hides %v", err, test.err)
		}
	}
	box := newKMS()
	box.refuses = &smithy.GenericAPIError{Code: "AccessDeniedException"}
	vault := testVault(newMemory())
	vault.Seal = box.sealer()
	_, err := vault.Private(t.Context(), Etcd)
	wantReason(t, err, status.ReasonPKIBlocked, "kms:Encrypt on alias/pki")
}
