package cloud_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"rekindle/test/cloud"
)

func (r *region) kms(c cloud.Credentials) *kms.Client { return kms.NewFromConfig(r.config(c)) }

var cluster = map[string]string{"cluster": "prod", "authority": "etcd"}

func seal(t *testing.T, c *kms.Client, key, text string) []byte {
	t.Helper()
	out := must[*kms.EncryptOutput](t)(c.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte(text), EncryptionContext: cluster}))
	return out.CiphertextBlob
}

func open(t *testing.T, c *kms.Client, key string, blob []byte, further map[string]string) (string, error) {
	t.Helper()
	in := &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: further}
	if key != "" {
		in.KeyId = &key
	}
	out, err := c.Decrypt(t.Context(), in)
	if err != nil {
		return "", err
	}
	return string(out.Plaintext), nil
}

func TestKeysAndTheirNames(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	key, other := r.CreateKey("alias/kube/store"), r.CreateKey()
	c := r.kms(r.AdminCredentials())
	names := []string{key.ID, key.ARN, "alias/kube/store", "arn:aws-cn:kms:cn-north-1:123456789012:alias/kube/store"}
	for _, name := range names {
		blob := seal(t, c, name, "a data key")
		if bytes.Contains(blob, []byte("a data key")) {
			t.Error("not encrypted")
		}
		for _, again := range append(names, "") {
			text, err := open(t, c, again, blob, cluster)
			check(t, err)
			equal(t, name, text, "a data key")
		}
		out := must[*kms.DescribeKeyOutput](t)(c.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &name}))
		equal(t, "described", aws.ToString(out.KeyMetadata.Arn), key.ARN)
		equal(t, "state", string(out.KeyMetadata.KeyState), cloud.KeyEnabled)
		equal(t, "created", aws.ToTime(out.KeyMetadata.CreationDate).Equal(r.clock.now()), true)
	}
	if bytes.Equal(seal(t, c, key.ID, "x"), seal(t, c, key.ID, "x")) {
		t.Error("twice the same ciphertext")
	}
	_, err := open(t, c, other.ID, seal(t, c, key.ID, "x"), cluster)
	wantCode(t, err, "IncorrectKeyException")
	for _, name := range []string{
		"alias/none", "kube/store", "key/" + key.ID, strings.Replace(key.ARN, "cn-north-1", "cn-northwest-1", 1), strings.Replace(key.ARN, "123", "999", 1),
		strings.Replace(key.ARN, ":key/", ":", 1),
	} {
		_, err := c.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &name, Plaintext: []byte("x")})
		wantCode(t, err, "NotFoundException")
	}
}

// What was encrypted is opened with the same context, unaltered, or not at all.
func TestCiphertextIsAuthenticated(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	key := r.CreateKey()
	c := r.kms(r.AdminCredentials())
	blob := seal(t, c, key.ID, "a data key")
	for name, further := range map[string]map[string]string{
		"none": nil, "part": {"cluster": "prod"}, "another": {"cluster": "test", "authority": "etcd"},
		"more": {"cluster": "prod", "authority": "etcd", "x": "y"},
	} {
		if _, err := open(t, c, "", blob, further); err == nil {
			t.Errorf("opened with the context %s", name)
		} else {
			wantCode(t, err, "InvalidCiphertextException")
		}
	}
	for i := range blob {
		altered := bytes.Clone(blob)
		altered[i] ^= 1
		if _, err := open(t, c, "", altered, cluster); err == nil {
			t.Errorf("opened with byte %d altered", i)
		}
	}
	for n := 1; n < len(blob); n += 9 {
		_, err := open(t, c, "", blob[:n], cluster)
		wantCode(t, err, "InvalidCiphertextException")
	}
	_, err := c.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key.ID, Plaintext: make([]byte, 4097)})
	wantCode(t, err, "ValidationException")
}

func TestKeyPolicy(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	key := r.CreateKey("alias/kube")
	key.Allow("masters", "Encrypt", "Decrypt")
	master, minion := r.launch(t, cloud.InstanceSpec{Role: "masters"}), r.launch(t, cloud.InstanceSpec{Role: "minions"})
	blob := seal(t, r.kms(r.Credentials(master.ID)), "alias/kube", "x")
	_, err := open(t, r.kms(r.Credentials(master.ID)), "", blob, cluster)
	check(t, err)
	_, err = r.kms(r.Credentials(master.ID)).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/kube")})
	wantCode(t, err, "AccessDeniedException")

	for name, c := range map[string]*kms.Client{
		"minion": r.kms(r.Credentials(minion.ID)), "foreign master": r.kms(r.AssumeRole("masters", "i-0", "999999999999")),
	} {
		_, err := open(t, c, "", blob, cluster)
		wantCode(t, err, "AccessDeniedException")
		_, err = c.Encrypt(t.Context(), &kms.EncryptInput{KeyId: aws.String("alias/kube"), Plaintext: []byte("x")})
		wantCode(t, err, "AccessDeniedException")
		if !strings.Contains(err.Error(), "not authorized to perform: kms:Encrypt on resource: "+key.ARN) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := r.Credentials(master.ID)
	bad.SecretAccessKey += "x"
	_, err = open(t, r.kms(bad), "", blob, cluster)
	wantCode(t, err, "InvalidSignatureException")
	equal(t, "decryptions of the master", r.Counts()[cloud.Counter{Instance: master.ID, Service: "kms", Action: "Decrypt"}], 2)
}

func TestKeyStates(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	key := r.CreateKey()
	c := r.kms(r.AdminCredentials())
	blob := seal(t, c, key.ID, "x")
	for state, code := range map[string]string{cloud.KeyDisabled: "DisabledException", cloud.KeyPendingDeletion: "KMSInvalidStateException"} {
		key.SetState(state)
		_, err := open(t, c, "", blob, cluster)
		wantCode(t, err, code)
		_, err = c.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key.ID, Plaintext: []byte("x")})
		wantCode(t, err, code)
	}
	key.SetState(cloud.KeyEnabled)
	_, err := open(t, c, "", blob, cluster)
	check(t, err)
	for do, code := range map[cloud.Effect]string{cloud.Throttle: "ThrottlingException", cloud.Deny: "AccessDeniedException", cloud.ServerError: "KMSInternalException"} {
		fault := r.Faults().Add(cloud.Fault{Service: "kms", Action: "Decrypt", Do: do})
		_, err := open(t, c, "", blob, cluster)
		wantCode(t, err, code)
		fault.Remove()
	}
}
