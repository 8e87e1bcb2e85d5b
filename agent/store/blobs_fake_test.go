package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"rekindle/agent/store"
)

// cellar is a bucket in memory that takes large objects, in parts and at once, on condition. It has no versions.
type cellar struct {
	mu      sync.Mutex
	objects map[string]object
	uploads map[string]*parts
	asked   []*http.Request
	began   int // uploads so far
	// fault may answer in its place; nil, nil: let the request through. It is called without the lock.
	fault func(r *http.Request, serve func() *http.Response) (*http.Response, error)
}

type object struct {
	data   []byte
	etag   string
	header http.Header // of the request that made it
	made   time.Time
}

type parts struct {
	key    string
	header http.Header
	parts  map[string][]byte
}

func newCellar() *cellar {
	return &cellar{objects: map[string]object{}, uploads: map[string]*parts{}}
}

// open is the store on top of it, over no network: time may be a test's own.
func (c *cellar) open(options ...store.S3Option) *store.S3 {
	return store.NewS3(s3.New(s3.Options{
		Region: "cn-north-1", BaseEndpoint: aws.String("http://cellar"), UsePathStyle: true, RetryMaxAttempts: 1, HTTPClient: c,
		Credentials: credentials.NewStaticCredentialsProvider("AK", "SK", ""),
	}), "bucket", "p", options...)
}

var errReset = errors.New("connection reset by peer")

// Do implements the SDK's HTTP client.
func (c *cellar) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	c.mu.Lock()
	c.asked = append(c.asked, r)
	c.mu.Unlock()
	serve := func() *http.Response {
		answer := httptest.NewRecorder()
		c.ServeHTTP(answer, r)
		return answer.Result()
	}
	if c.fault != nil {
		if answer, err := c.fault(r, serve); answer != nil || err != nil {
			return answer, err
		}
	}
	return serve(), nil
}

// operation names a request as S3 does.
func operation(r *http.Request) string {
	q := r.URL.Query()
	switch r.Method {
	case http.MethodPost:
		if q.Has("uploads") {
			return "CreateMultipartUpload"
		}
		return "CompleteMultipartUpload"
	case http.MethodPut:
		if q.Has("uploadId") {
			return "UploadPart"
		}
		return "PutObject"
	case http.MethodDelete:
		if q.Has("uploadId") {
			return "AbortMultipartUpload"
		}
		return "DeleteObject"
	case http.MethodHead:
		return "HeadObject"
	}
	switch {
	case q.Has("versions"):
		return "ListObjectVersions"
	case q.Has("list-type"):
		return "ListObjectsV2"
	}
	return "GetObject"
}

// count says how often an operation was asked for.
func (c *cellar) count(what string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.asked {
		if operation(r) == what {
			n++
		}
	}
	return n
}

func (c *cellar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/bucket/p/")
	id := r.URL.Query().Get("uploadId")
	there, exists := c.objects[key]
	begun := c.uploads[id]
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	switch what := operation(r); {
	case id != "" && begun == nil:
		fail(w, 404, "NoSuchUpload")
	case r.Header.Get("If-None-Match") == "*" && exists:
		fail(w, 412, "PreconditionFailed")
	case what == "CreateMultipartUpload":
		c.began++
		id := fmt.Sprint(c.began)
		c.uploads[id] = &parts{key, r.Header, map[string][]byte{}}
		_, _ = fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case what == "UploadPart" || what == "PutObject":
		c.take(w, r, key, begun, body)
	case what == "CompleteMultipartUpload":
		delete(c.uploads, id)
		c.keep(key, begun.whole(), begun.header)
		_, _ = fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>", c.objects[key].etag)
	case what == "AbortMultipartUpload":
		delete(c.uploads, id)
		w.WriteHeader(204)
	case what == "DeleteObject":
		delete(c.objects, key)
		w.WriteHeader(204)
	case what == "ListObjectVersions":
		fail(w, 501, "NotImplemented")
	case what == "ListObjectsV2":
		c.list(w, r)
	case !exists:
		fail(w, 404, "NoSuchKey")
	default:
		for name, values := range there.header {
			if strings.HasPrefix(name, "X-Amz-Meta-") {
				w.Header()[name] = values
			}
		}
		w.Header().Set("ETag", there.etag)
		http.ServeContent(w, r, "", there.made, bytes.NewReader(there.data))
	}
}

// take is a write of bytes, which must be as their checksum says.
func (c *cellar) take(w http.ResponseWriter, r *http.Request, key string, begun *parts, body []byte) {
	sum := crc32.NewIEEE()
	_, _ = sum.Write(body)
	if int64(len(body)) != r.ContentLength || base64.StdEncoding.EncodeToString(sum.Sum(nil)) != r.Header.Get("X-Amz-Checksum-Crc32") {
		fail(w, 400, "BadDigest")
		return
	}
	if begun != nil {
		begun.parts[r.URL.Query().Get("partNumber")] = body
		w.Header().Set("ETag", `"part"`)
		return
	}
	c.keep(key, body, r.Header)
	w.Header().Set("ETag", c.objects[key].etag)
}

func (c *cellar) keep(key string, data []byte, header http.Header) {
	c.objects[key] = object{data, fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(data))), header, time.Now()}
}

// whole is all parts in order.
func (p *parts) whole() (data []byte) {
	for n := range len(p.parts) {
		data = append(data, p.parts[fmt.Sprint(n+1)]...)
	}
	return data
}

func (c *cellar) list(w http.ResponseWriter, r *http.Request) {
	type content struct {
		Key, ETag    string
		Size         int
		LastModified string
	}
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
	}
	for _, key := range slices.Sorted(maps.Keys(c.objects)) {
		name := "p/" + key
		if !strings.HasPrefix(name, r.URL.Query().Get("prefix")) || name <= r.URL.Query().Get("continuation-token") {
			continue
		}
		if len(page.Contents) == 2 {
			page.IsTruncated, page.NextContinuationToken = true, page.Contents[1].Key
			break
		}
		o := c.objects[key]
		page.Contents = append(page.Contents, content{name, o.etag, len(o.data), o.made.UTC().Format(time.RFC3339)})
	}
	_ = xml.NewEncoder(w).Encode(page)
}

// refuse answers with an error of S3.
func refuse(status int, code string) *http.Response {
	w := httptest.NewRecorder()
	fail(w, status, code)
	return w.Result()
}
