package s3

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v3"
)

// Fault is one way to misbehave and the requests that it hits. Empty fields match everything:
//
//	s3.Fault{Method: "PUT", Path: "/store/pki/*", Conditional: true, Count: 1, Do: s3.Lost}
type Fault struct {
	Method      string
	Path        string // /bucket/key; a trailing * matches any rest
	Query       string // a parameter ("uploads"), or its value ("partNumber=2")
	AccessKeyID string // who asks
	Conditional bool   // only requests with If-Match or If-None-Match

	Skip        int     // requests let through first
	Count       int     // requests hit, then no more; 0: no limit
	Probability float64 // of hitting a request that matches; 0 means always

	Do Effect
}

// Effect is what a fault does. Of several faults on one request the first wins.
type Effect struct {
	name      string
	status    int
	code      string
	lost      bool // no answer at all
	performed bool // the server did what was asked, all the same
	delay     time.Duration
	body      int64 // bytes of the body, after which the connection ends; of the request's, unless performed
}

var (
	// Conflict answers 409, as S3 does to one of two conditional writes at once: nobody knows which one was done.
	Conflict = Effect{name: "conflict", status: http.StatusConflict, code: "ConditionalRequestConflict"}
	// Refused answers 412 without looking at the condition.
	Refused = Effect{name: "refused", status: http.StatusPreconditionFailed, code: "PreconditionFailed"}
	// Deny answers 403.
	Deny = Effect{name: "deny", status: http.StatusForbidden, code: "AccessDenied"}
	// ServerError answers 500, and nothing was done.
	ServerError = Effect{name: "server error", status: http.StatusInternalServerError, code: "InternalError"}
	// SlowDown answers 503, and nothing was done.
	SlowDown = Effect{name: "slow down", status: http.StatusServiceUnavailable, code: "SlowDown"}
	// ErrorAfter answers 500, though all was done.
	ErrorAfter = Effect{name: "error after", status: http.StatusInternalServerError, code: "InternalError", performed: true}
	// Reset closes the connection before anything was done.
	Reset = Effect{name: "reset", lost: true}
	// Lost closes the connection after all was done: the client never hears of it.
	Lost = Effect{name: "lost", lost: true, performed: true}
)

// Latency delays the request.
func Latency(d time.Duration) Effect {
	return Effect{name: fmt.Sprintf("latency %v", d), delay: d, performed: true}
}

// CutAfter closes the connection after the server has read some bytes of the request's body, and nothing was done.
func CutAfter(bytes int64) Effect {
	return Effect{name: fmt.Sprintf("cut after %d bytes", bytes), lost: true, body: bytes}
}

// Truncate closes the connection after some bytes of the answer's body, of which a buffer may be lost.
func Truncate(bytes int64) Effect {
	return Effect{name: fmt.Sprintf("truncated to %d bytes", bytes), performed: true, body: bytes}
}

// act serves a request as the effect wants; that of the zero value is the server's own answer.
func (e Effect) act(c fiber.Ctx, serve func(fiber.Ctx) error) error {
	if e.delay > 0 {
		timer := time.NewTimer(e.delay)
		defer timer.Stop()
		<-timer.C
	}
	if e.body > 0 && !e.performed {
		_, _ = io.CopyN(io.Discard, c.Request().BodyStream(), e.body)
	}
	if e.performed || e.name == "" {
		if err := serve(c); err != nil {
			return err
		}
	}
	switch {
	case e.body > 0 && e.performed:
		return truncate(c, e.body)
	case e.lost: // whoever calls closes the connection
	case e.status != 0:
		return e.refuse(c)
	}
	return nil
}

// refuse answers with the effect's error, whatever was answered before.
func (e Effect) refuse(c fiber.Ctx) error {
	c.Response().Reset()
	c.Set("Content-Type", "application/xml")
	return c.Status(e.status).SendString(fmt.Sprintf("<Error><Code>%s</Code><Message>a fault of the test: %s</Message></Error>", e.code, e.name))
}

// truncate lets an answer end early, though its header says how long it is.
func truncate(c fiber.Ctx, bytes int64) error {
	r := c.Response()
	if !r.IsBodyStream() {
		return errors.New("only a streamed body can be cut")
	}
	start, err := io.ReadAll(io.LimitReader(r.BodyStream(), bytes))
	if err != nil {
		return err
	}
	r.ImmediateHeaderFlush = true
	r.SetBodyStream(strings.NewReader(string(start)), r.Header.ContentLength())
	return nil
}

// Faults are the faults of one server. They may change at any time.
type Faults struct {
	mu     sync.Mutex
	rand   *rand.Rand
	active []*ActiveFault
}

// ActiveFault is a fault that was added.
type ActiveFault struct {
	Fault
	owner      *Faults
	seen, hits int
}

func newFaults(seed uint64) *Faults { return &Faults{rand: rand.New(rand.NewPCG(seed, 3))} }

// Add makes a fault active.
func (f *Faults) Add(fault Fault) *ActiveFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &ActiveFault{Fault: fault, owner: f}
	f.active = append(f.active, a)
	return a
}

// Clear removes all faults.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = nil
}

// Remove ends the fault.
func (a *ActiveFault) Remove() {
	a.owner.mu.Lock()
	defer a.owner.mu.Unlock()
	a.owner.active = slices.DeleteFunc(a.owner.active, func(o *ActiveFault) bool { return o == a })
}

// Hits says how many requests it hit so far.
func (a *ActiveFault) Hits() int {
	a.owner.mu.Lock()
	defer a.owner.mu.Unlock()
	return a.hits
}

// match finds what happens to a request, and counts it.
func (f *Faults) match(r Request) Effect {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.active {
		if !a.concerns(r) {
			continue
		}
		if a.seen++; a.seen <= a.Skip {
			continue
		}
		if a.Probability > 0 && f.rand.Float64() >= a.Probability {
			continue
		}
		a.hits++
		return a.Do
	}
	return Effect{}
}

func (a *ActiveFault) concerns(r Request) bool {
	prefix, isPrefix := strings.CutSuffix(a.Path, "*")
	switch {
	case a.Method != "" && a.Method != r.Method,
		isPrefix && !strings.HasPrefix(r.Path, prefix),
		!isPrefix && a.Path != "" && a.Path != r.Path,
		a.Query != "" && !slices.ContainsFunc(strings.Split(r.Query, "&"), func(parameter string) bool {
			name, _, _ := strings.Cut(parameter, "=")
			return parameter == a.Query || name == a.Query
		}),
		a.AccessKeyID != "" && a.AccessKeyID != r.AccessKeyID,
		a.Conditional && r.IfMatch == "" && r.IfNoneMatch == "",
		a.Count > 0 && a.hits >= a.Count:
		return false
	}
	return true
}
