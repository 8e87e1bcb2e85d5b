package assets

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// s3Server is as much of S3 as this package uses, over the real protocol: ranges, conditions, checksums, listings in
// pages, uploads in parts. The real client talks to it, so what the client sends is tested too.
type s3Server struct {
	mu      sync.Mutex
	objects map[string]s3Object
	uploads map[string]map[int][]byte
	page    int                                               // keys per listing
	fault   func(w http.ResponseWriter, r *http.Request) bool // true: it answered
}

type s3Object struct {
	data     []byte
	etag     string
	checksum string
}

func newS3Server(t testing.TB) (*s3Server, *s3.Client) {
	t.Helper()
	s := &s3Server{objects: make(map[string]s3Object), uploads: make(map[string]map[int][]byte), page: 2}
	server := httptest.NewServer(s)
	transport := &http.Transport{}
	t.Cleanup(func() { transport.CloseIdleConnections(); server.Close() })
	return s, s3.New(s3.Options{
		BaseEndpoint: &server.URL, UsePathStyle: true, Region: "cn-north-1",
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		HTTPClient:  &http.Client{Transport: transport}, RetryMaxAttempts: 2,
	})
}

func (s *s3Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.fault != nil && s.fault(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case bucket != "bucket":
		s3Fault(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodGet && query.Get("list-type") == "2":
		s.list(w, query.Get("prefix"), query.Get("continuation-token"))
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		s.get(w, r, key)
	case r.Method == http.MethodPost && query.Has("uploads"):
		id := strconv.Itoa(len(s.uploads) + 1)
		s.uploads[id] = make(map[int][]byte)
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case r.Method == http.MethodPut && query.Has("uploadId"):
		number, _ := strconv.Atoi(query.Get("partNumber"))
		if sound(w, r, body) {
			s.uploads[query.Get("uploadId")][number] = body
			w.Header().Set("ETag", etagOf(body))
		}
	case r.Method == http.MethodPost && query.Has("uploadId"):
		s.complete(w, r, key, query.Get("uploadId"), body)
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		delete(s.uploads, query.Get("uploadId"))
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut:
		if sound(w, r, body) && s.condition(w, r, key) {
			s.objects[key] = s3Object{body, etagOf(body), r.Header.Get("X-Amz-Checksum-Sha256")}
			w.Header().Set("ETag", etagOf(body))
		}
	default:
		s3Fault(w, http.StatusNotImplemented, "NotImplemented")
	}
}

// sound is what S3 does with the digests of a body.
func sound(w http.ResponseWriter, r *http.Request, body []byte) bool {
	digest := sha256.Sum256(body)
	if r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(digest[:]) {
		s3Fault(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
		return false
	}
	if r.Header.Get("X-Amz-Checksum-Sha256") != base64.StdEncoding.EncodeToString(digest[:]) {
		s3Fault(w, http.StatusBadRequest, "BadDigest")
		return false
	}
	return true
}

func (s *s3Server) condition(w http.ResponseWriter, r *http.Request, key string) bool {
	now, exists := s.objects[key]
	match := r.Header.Get("If-Match")
	switch {
	case match != "" && !exists:
		s3Fault(w, http.StatusNotFound, "NoSuchKey")
	case match != "" && match != now.etag, r.Header.Get("If-None-Match") == "*" && exists:
		s3Fault(w, http.StatusPreconditionFailed, "PreconditionFailed")
	default:
		return true
	}
	return false
}

func (s *s3Server) get(w http.ResponseWriter, r *http.Request, key string) {
	o, ok := s.objects[key]
	if !ok {
		s3Fault(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("ETag", o.etag)
	if r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" && r.Header.Get("Range") == "" {
		w.Header().Set("X-Amz-Checksum-Sha256", o.checksum)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
}

func (s *s3Server) list(w http.ResponseWriter, prefix, after string) {
	type content struct {
		Key, ETag string
		Size      int
	}
	var result struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		Contents              []content
	}
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		if len(result.Contents) == s.page {
			result.IsTruncated = true
			result.NextContinuationToken = result.Contents[s.page-1].Key
			break
		}
		result.Contents = append(result.Contents, content{key, s.objects[key].etag, len(s.objects[key].data)})
	}
	_ = xml.NewEncoder(w).Encode(result)
}

func (s *s3Server) complete(w http.ResponseWriter, r *http.Request, key, id string, body []byte) {
	var asked struct{ Part []struct{ PartNumber int } }
	if err := xml.Unmarshal(body, &asked); err != nil || s.uploads[id] == nil {
		s3Fault(w, http.StatusBadRequest, "InvalidPart")
		return
	}
	if !s.condition(w, r, key) {
		return
	}
	var data, digests []byte
	for _, part := range asked.Part {
		digest := sha256.Sum256(s.uploads[id][part.PartNumber])
		digests = append(digests, digest[:]...)
		data = append(data, s.uploads[id][part.PartNumber]...)
	}
	whole := sha256.Sum256(digests)
	checksum := fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(whole[:]), len(asked.Part))
	s.objects[key] = s3Object{data, etagOf(data), checksum}
	delete(s.uploads, id)
	fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>", etagOf(data))
}

func (s *s3Server) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

func etagOf(data []byte) string { return fmt.Sprintf(`"%x"`, md5.Sum(data)) }

func s3Fault(w http.ResponseWriter, code int, name string) {
	w.WriteHeader(code)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", name, aws.ToString(&name))
}
