package s3

import (
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
	AccessKeyID string // empty: unsigned
	Status      int
	Bytes       int64 // of the answer's body
}

type recorder struct {
	mu  sync.Mutex
	all []Request
}

// handle counts a request after it was served. Strings are cloned: fiber uses their memory again.
func (r *recorder) handle(c fiber.Ctx) error {
	q := Request{
		Time:        time.Now(),
		Method:      strings.Clone(c.Method()),
		Path:        strings.Clone(c.Path()),
		Query:       string(c.Request().URI().QueryString()),
		Range:       strings.Clone(c.Get("Range")),
		AccessKeyID: accessKey(c.Get("Authorization"), c.Query("X-Amz-Credential")),
	}
	err := c.Next()
	q.Status = c.Response().StatusCode()
	q.Bytes = max(0, int64(c.Response().Header.ContentLength()))
	r.mu.Lock()
	r.all = append(r.all, q)
	r.mu.Unlock()
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
