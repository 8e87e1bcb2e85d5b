package store_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rekindle/agent/store"
	"rekindle/agent/store/storetest"
)

func TestDir(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Records { return store.NewDir(t.TempDir()) })
}

// The same contract against versitygw is test/scripts' business; here the protocol is the smallest that tells S3's
// answers apart.
func TestS3(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Records {
		return store.NewS3(client(t, newBucket()), "bucket", "/some/prefix/")
	})
}

func TestDirIsUnknownWhenUnmounted(t *testing.T) {
	records := store.NewDir(t.TempDir() + "/unmounted")
	if _, _, err := records.Get(t.Context(), "lineage.json"); err == nil || errors.Is(err, store.ErrAbsent) {
		t.Errorf("error %v: a store that is not there was taken for an empty one", err)
	}
	if _, err := records.List(t.Context(), "etcd/", 1); err == nil {
		t.Error("a store that is not there lists nothing, without an error")
	}
}

func TestDirRefusesToLeave(t *testing.T) {
	records := store.NewDir(t.TempDir())
	for _, key := range []string{"../x", "/etc/passwd", "a//b", ""} {
		if _, err := records.Put(t.Context(), key, []byte("x"), ""); err == nil {
			t.Errorf("wrote %q", key)
		}
	}
}

func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/big", make([]byte, store.MaxRecord+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.NewDir(dir).Get(t.Context(), "big"); err == nil || errors.Is(err, store.ErrAbsent) {
		t.Errorf("error %v", err)
	}
}

func TestS3Unknown(t *testing.T) {
	for _, answer := range []struct {
		status int
		code   string
	}{{403, "AccessDenied"}, {404, "NoSuchBucket"}, {500, "InternalError"}, {503, "SlowDown"}} {
		t.Run(answer.code, func(t *testing.T) {
			records := store.NewS3(client(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fail(w, answer.status, answer.code)
			})), "bucket", "p")
			if _, _, err := records.Get(t.Context(), "k"); err == nil || errors.Is(err, store.ErrAbsent) {
				t.Errorf("get: %v: what cannot be read was taken for absent", err)
			}
			if _, err := records.Put(t.Context(), "k", nil, "v"); err == nil || errors.Is(err, store.ErrConflict) {
				t.Errorf("put: %v", err)
			}
			if _, err := records.List(t.Context(), "k", 0); err == nil {
				t.Error("list: no error")
			}
			if err := records.Delete(t.Context(), "k"); err == nil {
				t.Error("delete: no error")
			}
		})
	}
}

// TestS3Encrypts sends a KMS key with what lies below its prefix, and with nothing else.
func TestS3Encrypts(t *testing.T) {
	inner := newBucket()
	sent := map[string][]string{}
	records := store.NewS3(client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var headers []string
		for name := range r.Header {
			if value, ok := strings.CutPrefix(name, "X-Amz-Server-Side-Encryption"); ok {
				headers = append(headers, value+"="+r.Header.Get(name))
			}
		}
		slices.Sort(headers)
		sent[r.Method+" "+strings.TrimPrefix(r.URL.Path, "/bucket/a/store/")] = headers
		inner.ServeHTTP(w, r)
	})), "bucket", "a/store", store.EncryptUnder("/pki/private/", "arn:aws-cn:kms:cn-north-1:1:key/k"), store.EncryptUnder("own", ""))
	for _, key := range []string{"pki/private/etcd.json", "own/x", "pki/public/etcd.crt", "pki/private", "x/pki/private/y"} {
		version, err := records.Put(t.Context(), key, []byte("1"), "")
		if err == nil {
			_, err = records.Put(t.Context(), key, []byte("2"), version)
		}
		if err == nil {
			_, _, err = records.Get(t.Context(), key)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for request, want := range map[string]string{
		"PUT pki/private/etcd.json": "-Aws-Kms-Key-Id=arn:aws-cn:kms:cn-north-1:1:key/k -Bucket-Key-Enabled=true =aws:kms",
		"PUT own/x":                 "-Bucket-Key-Enabled=true =aws:kms",
		"PUT pki/public/etcd.crt":   "",
		"PUT pki/private":           "",
		"PUT x/pki/private/y":       "",
		"GET pki/private/etcd.json": "",
	} {
		if got, ok := sent[request]; !ok || strings.Join(got, " ") != want {
			t.Errorf("%s: sent %q", request, got)
		}
	}
}

func client(t *testing.T, handler http.Handler) *s3.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return s3.New(s3.Options{Region: "cn-north-1", BaseEndpoint: aws.String(server.URL), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("AK", "SK", ""), RetryMaxAttempts: 1})
}

// bucket speaks GET, PUT with conditions, DELETE and ListObjectsV2 with pages of two keys.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	writes  map[string]int
}

func newBucket() *bucket { return &bucket{objects: map[string][]byte{}, writes: map[string]int{}} }

func (b *bucket) etag(key string) string { return fmt.Sprintf("%q", fmt.Sprint(b.writes[key])) }

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/bucket/")
	data, there := b.objects[key]
	switch {
	case r.URL.Query().Has("list-type"):
		b.list(w, r)
	case r.Method == http.MethodGet && !there:
		fail(w, 404, "NoSuchKey")
	case r.Method == http.MethodGet:
		w.Header().Set("ETag", b.etag(key))
		_, _ = w.Write(data)
	case r.Method == http.MethodDelete:
		delete(b.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case r.Header.Get("If-None-Match") == "*" && there:
		fail(w, 412, "PreconditionFailed")
	case r.Header.Get("If-Match") != "" && !there:
		fail(w, 404, "NoSuchKey")
	case r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != b.etag(key):
		fail(w, 412, "PreconditionFailed")
	default:
		b.put(w, r, key)
	}
}

func (b *bucket) put(w http.ResponseWriter, r *http.Request, key string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, 400, "IncompleteBody")
		return
	}
	if r.Header.Get("X-Amz-Decoded-Content-Length") != "" { // aws-chunked: size in hex, data, a trailer with the checksum
		_, rest, _ := bytes.Cut(body, []byte("\r\n"))
		var size int
		_, _ = fmt.Sscan(r.Header.Get("X-Amz-Decoded-Content-Length"), &size)
		body = rest[:size]
	}
	b.objects[key] = body
	b.writes[key]++
	w.Header().Set("ETag", b.etag(key))
}

func (b *bucket) list(w http.ResponseWriter, r *http.Request) {
	type object struct{ Key string }
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []object
	}
	var keys []string
	for key := range b.objects {
		if strings.HasPrefix(key, r.URL.Query().Get("prefix")) && key > r.URL.Query().Get("continuation-token") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys[:min(2, len(keys))] {
		page.Contents = append(page.Contents, object{key})
	}
	if len(keys) > 2 {
		page.IsTruncated, page.NextContinuationToken = true, keys[1]
	}
	_ = xml.NewEncoder(w).Encode(page)
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>m</Message></Error>", code)
}
