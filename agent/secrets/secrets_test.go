package secrets

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"rekindle/agent/store"
)

// reader reads from a node in a directory, a store in another, and one server that plays S3 and SSM.
func reader(t *testing.T) *Reader {
	t.Helper()
	node, records := t.TempDir(), store.NewDir(t.TempDir())
	if err := os.WriteFile(filepath.Join(node, "token"), []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := records.Put(t.Context(), "pki/ca.crt", []byte("from the store"), ""); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/bucket/key":
			_, _ = w.Write([]byte("from a bucket"))
		case r.URL.Path == "/bucket/large":
			_, _ = w.Write(make([]byte, MaxSize+1))
		case strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetParameter"):
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			_, _ = w.Write([]byte(`{"Parameter":{"Name":"/p","Value":"from a parameter"}}`))
		default:
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`<Error><Code>AccessDenied</Code></Error>`))
		}
	}))
	t.Cleanup(server.Close)
	key := credentials.NewStaticCredentialsProvider("AK", "SK", "")
	return &Reader{
		Records: records,
		S3: func() *s3.Client {
			return s3.New(s3.Options{Region: "cn-north-1", BaseEndpoint: aws.String(server.URL), UsePathStyle: true,
				Credentials: key, RetryMaxAttempts: 1})
		},
		Parameter: ssm.New(ssm.Options{Region: "cn-north-1", BaseEndpoint: aws.String(server.URL), Credentials: key,
			RetryMaxAttempts: 1}).GetParameter,
		Path: func(path string) (string, error) { return filepath.Join(node, path), nil },
	}
}

func TestRead(t *testing.T) {
	r := reader(t)
	for ref, want := range map[string]string{
		"s3:pki/ca.crt":   "from the store",
		"s3://bucket/key": "from a bucket",
		"ssm:/p":          "from a parameter",
		"file:/token":     "from a file",
	} {
		if data, err := r.Read(context.Background(), ref); err != nil || string(data) != want {
			t.Errorf("%s: %q, error %v", ref, data, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	r := reader(t)
	for ref, want := range map[string]string{
		"s3:pki/ca.key":     "no such record",
		"s3://bucket/other": "s3:GetObject",
		"s3://bucket/large": "larger than",
		"s3://bucket":       "not s3://bucket/key",
		"file:/absent":      "bake the file",
		"http://x":          "cannot be read here",
		"":                  "cannot be read here",
	} {
		if _, err := r.Read(context.Background(), ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %q", ref, err, want)
		}
	}
	if _, err := (&Reader{}).Read(context.Background(), "ssm:/p"); err == nil {
		t.Error("read a parameter without a client")
	}
}
