package scripts

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// pki runs a verb of `rekindle pki`, as an administrator.
func pki(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	s.Check(s.open())
	for _, variable := range s.site.Publisher() {
		key, value, _ := strings.Cut(variable, "=")
		before := s.Getenv(key)
		s.Setenv(key, value)
		defer s.Setenv(key, before)
	}
	full := append([]string{"pki"}, args...)
	if err := s.Exec(programs.Rekindle, append(full, "--endpoint", s.Getenv("S3"), "--path-style")...); (err == nil) == neg {
		s.Fatalf("pki: %v", err)
	}
}

// vaultKey is the one key that a fake KMS has.
const vaultKey = "arn:aws-cn:kms:cn-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// kms is a KMS whose ciphertext holds, in clear, what it was made of: what a wrapped key is worth is not the question here,
// but that it opens with the same encryption context alone.
type kms struct {
	mu      sync.Mutex
	refusal string // the exception that it answers everything with
}

// serveKMS starts one that the verbs of the script find, or changes what the one answers.
func serveKMS(s script, args []string) error {
	if len(args) > 1 {
		return errors.New("usage: kms [EXCEPTION]")
	}
	fake := s.kms
	if fake == nil {
		fake = new(kms)
		s.kms = fake
		server := httptest.NewServer(fake)
		s.Defer(server.Close)
		s.Setenv("AWS_ENDPOINT_URL_KMS", server.URL)
		s.Setenv("KMSKEY", vaultKey)
	}
	fake.mu.Lock()
	defer fake.mu.Unlock()
	fake.refusal = strings.Join(args, "")
	return nil
}

type wrapped struct {
	Plain   []byte
	Context map[string]string
}

func (k *kms) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	refusal := k.refusal
	k.mu.Unlock()
	var in struct {
		KeyId                     string
		Plaintext, CiphertextBlob []byte
		EncryptionContext         map[string]string
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refusal = "SerializationException"
	}
	out := map[string]any{"KeyId": vaultKey}
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".Encrypt") {
		out["CiphertextBlob"], _ = json.Marshal(wrapped{in.Plaintext, in.EncryptionContext})
	} else {
		var was wrapped
		if err := json.Unmarshal(in.CiphertextBlob, &was); err != nil || !maps.Equal(was.Context, in.EncryptionContext) {
			refusal = "InvalidCiphertextException"
		}
		out["Plaintext"] = was.Plain
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if refusal != "" {
		w.WriteHeader(http.StatusBadRequest)
		out = map[string]any{"__type": refusal, "message": "refused"}
	}
	_ = json.NewEncoder(w).Encode(out)
}
