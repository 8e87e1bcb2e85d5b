package s3

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v3"
)

// Request is one request that reached the server, refused ones included.
type Request struct {
	Time        time.Time
	Method      string
	Path        string // /bucket/key, escaped
	Query       string
	Range       string // the header of a ranged read
	IfMatch     string // the headers of a conditional write
	IfNoneMatch string
	Encryption  string // x-amz-server-side-encryption of a write: "aws:kms". The server takes it and encrypts nothing.
	KMSKey      string // the key that it names
	AccessKeyID string // empty: unsigned
	Status      int    // 0: the connection was closed without an answer
	Bytes       int64  // of the answer's body
	Fault       string // what was done to it
}

// recorder stands before the server: it counts requests, and lets faults act.
type recorder struct {
	faults *Faults
	// orphan removes the metadata of /bucket/key if there is no such object.
	orphan func(path string) (removed bool, err error)
	paths  sync.Map // path -> *sync.RWMutex

	mu  sync.Mutex
	all []Request
}

// serve has the server answer. What reads an object waits for what writes it: the gateway keeps ETags in files of their own,
// and would give a reader the old body with the new ETag, with which it could then write over what it never saw. S3 does
// neither. Parts of an upload are no object yet.
func (r *recorder) serve(c fiber.Ctx) error {
	if c.Query("partNumber") != "" {
		return c.Next()
	}
	held, _ := r.paths.LoadOrStore(strings.Clone(c.Path()), new(sync.RWMutex))
	path := held.(*sync.RWMutex)
	if method := c.Method(); method == http.MethodGet || method == http.MethodHead {
		path.RLock()
		defer path.RUnlock()
	} else {
		path.Lock()
		defer path.Unlock()
	}
	if err := c.Next(); err != nil || c.Method() != http.MethodPut || c.Response().StatusCode() < http.StatusMultipleChoices {
		return err
	}
	return r.tidy(c)
}

// tidy undoes what a write left that failed half-way: the gateway removes directories that a deletion emptied while another
// write makes an object in them, and that write can then leave its ETag without its object. Every later If-None-Match would
// be refused, of an object that cannot be read. Whoever wrote hears what S3 says when it is busy, and tries again.
func (r *recorder) tidy(c fiber.Ctx) error {
	path, err := url.PathUnescape(c.Path())
	if err != nil {
		return err
	}
	removed, err := r.orphan(path)
	if err != nil || !removed && !bytes.Contains(c.Response().Body(), []byte("ExistingObjectIsDirectory")) {
		return err
	}
	return SlowDown.refuse(c)
}

// handle counts a request after it was served. Strings are cloned: fiber uses their memory again.
func (r *recorder) handle(c fiber.Ctx) error {
	header := func(name string) string { return strings.Clone(c.Get(name)) }
	q := Request{
		Time:        time.Now(),
		Method:      strings.Clone(c.Method()),
		Path:        strings.Clone(c.Path()),
		Query:       string(c.Request().URI().QueryString()),
		Range:       header("Range"),
		IfMatch:     header("If-Match"),
		IfNoneMatch: header("If-None-Match"),
		Encryption:  header("X-Amz-Server-Side-Encryption"),
		KMSKey:      header("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"),
		AccessKeyID: accessKey(c.Get("Authorization"), c.Query("X-Amz-Credential")),
	}
	fault := r.faults.match(q)
	q.Fault = fault.name
	err := fault.act(c, r.serve)
	if !fault.lost {
		q.Status = c.Response().StatusCode()
		q.Bytes = max(0, int64(c.Response().Header.ContentLength()))
	}
	r.mu.Lock()
	r.all = append(r.all, q)
	r.mu.Unlock()
	if fault.lost { // not before it is counted: the client goes on at once
		return errors.Join(err, c.Drop())
	}
	return err
}

// accessKey reads who signed: "AWS4-HMAC-SHA256 Credential=KEY/date/region/s3/aws4_request, ...", or the query's scope.
func accessKey(authorization, credential string) string {
	if _, rest, ok := strings.Cut(authorization, "Credential="); ok {
		credential = rest
	}
	key, _, _ := strings.Cut(credential, "/")
	return strings.Clone(key)
}

func (r *recorder) list() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = nil
}
