package cloud

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault is one way to misbehave and the requests that it hits. Empty fields match everything:
//
//	cloud.Fault{Service: "ec2", Action: "DescribeTags", Count: 3, Do: cloud.Throttle}
//	cloud.Fault{Service: "imds", Instance: id, Until: start.Add(20 * time.Second), Do: cloud.Reset}
//	cloud.Fault{Service: "imds", Path: "/latest/meta-data/tags/*", Do: cloud.LateTags(time.Minute)}
type Fault struct {
	Service  string // imds, ec2, autoscaling, sts, ssm, kms, route53
	Action   string // DescribeTags; for imds GetToken or Get
	Path     string // of the URL; a trailing * matches any rest
	Instance string // the instance that asks

	Skip        int       // requests let through first
	Count       int       // requests hit, then no more; 0: no limit
	From        time.Time // by the cloud's clock
	Until       time.Time
	Probability float64 // of hitting a request that matches; 0 means always

	Do Effect
}

// Effect is what a fault does. Effects of several faults on one request add up; of those that end it the first wins.
type Effect struct {
	kind   kind
	delay  time.Duration
	size   int
	answer *otherwise
}

// otherwise is an answer in place of the service's.
type otherwise struct {
	status  int
	headers http.Header
	body    string
}

type kind string

const (
	none         kind = ""
	throttle     kind = "throttle"
	deny         kind = "deny"
	serverError  kind = "server error"
	unavailable  kind = "unavailable"
	connReset    kind = "reset"
	blackHole    kind = "black hole"
	emptyPage    kind = "empty page"
	pageSize     kind = "page size"
	latency      kind = "latency"
	lateTags     kind = "late tags"
	lateInstance kind = "late instances"
	lateEnd      kind = "late ends"
	expireTokens kind = "expire tokens"
	otherAnswer  kind = "answer"
)

var (
	// Throttle answers as an overloaded API does: RequestLimitExceeded, Throttling, ThrottlingException; IMDS 503.
	Throttle = Effect{kind: throttle}
	// Deny answers as IAM does: UnauthorizedOperation, AccessDenied, AccessDeniedException; IMDS 403.
	Deny = Effect{kind: deny}
	// ServerError answers 500.
	ServerError = Effect{kind: serverError}
	// Unavailable answers 503.
	Unavailable = Effect{kind: unavailable}
	// Reset closes the connection with a TCP RST, without an answer.
	Reset = Effect{kind: connReset}
	// BlackHole never answers; the connection stays open until the client or the server goes.
	BlackHole = Effect{kind: blackHole}
	// EmptyPage makes a listing answer with no item and a token for more. Use it with a Count.
	EmptyPage = Effect{kind: emptyPage}
)

// Latency delays the answer.
func Latency(d time.Duration) Effect { return Effect{kind: latency, delay: d} }

// PageSize makes listings return at most n items at once, whatever was asked.
func PageSize(n int) Effect { return Effect{kind: pageSize, size: n} }

// LateTags hides the tags of instances that were launched less than d ago: from DescribeTags, DescribeInstances or
// IMDS, as Service and Action select.
func LateTags(d time.Duration) Effect { return Effect{kind: lateTags, delay: d} }

// LateInstances makes EC2 deny all knowledge of instances that were launched less than d ago, as it may: they are not
// listed, and asked for by id they are InvalidInstanceID.NotFound, just like those that ended long ago.
func LateInstances(d time.Duration) Effect { return Effect{kind: lateInstance, delay: d} }

// LateEnds makes EC2 describe instances as running that ended less than d ago, as it may: its answers can be old.
func LateEnds(d time.Duration) Effect { return Effect{kind: lateEnd, delay: d} }

// ExpireTokens makes IMDS tokens that are handed out die after d, whatever they promise.
func ExpireTokens(d time.Duration) Effect { return Effect{kind: expireTokens, delay: d} }

// Answer answers with anything at all, whoever asks and however it is signed: what a proxy, a portal or an impostor
// would say. Headers are name and value in turns. IMDS does not know it.
func Answer(status int, body string, headers ...string) Effect {
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	return Effect{kind: otherAnswer, answer: &otherwise{status, h, body}}
}

// Redirect answers 302.
func Redirect(url string) Effect { return Answer(http.StatusFound, "", "Location", url) }

// answered is the answer that replaces the service's, or nil.
func answered(effects []Effect) *otherwise {
	for _, e := range effects {
		if e.answer != nil {
			return e.answer
		}
	}
	return nil
}

func (o *otherwise) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), o.headers)
	w.WriteHeader(o.status)
	_, _ = io.WriteString(w, o.body) // the client may be gone
}

func (e Effect) String() string {
	switch e.kind {
	case otherAnswer:
		return fmt.Sprintf("%s %d", e.kind, e.answer.status)
	case pageSize:
		return fmt.Sprintf("%s %d", e.kind, e.size)
	case latency, lateTags, lateInstance, lateEnd, expireTokens:
		return fmt.Sprintf("%s %v", e.kind, e.delay)
	default:
		return string(e.kind)
	}
}

// ends is true when no ordinary answer follows.
func (e Effect) ends() bool {
	return slices.Contains([]kind{throttle, deny, serverError, unavailable, connReset, blackHole, otherAnswer}, e.kind)
}

// Faults are the faults of one cloud. They may change at any time.
type Faults struct {
	now func() time.Time

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

func newFaults(seed uint64) *Faults { return &Faults{rand: rand.New(rand.NewPCG(seed, 2))} }

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

// match collects what happens to a request and counts it. A fault behind one that ends the request is not used up.
func (f *Faults) match(r Request) []Effect {
	f.mu.Lock()
	defer f.mu.Unlock()
	var effects []Effect
	ended := false
	for _, a := range f.active {
		if !a.concerns(r, f.now()) || ended && a.Do.ends() {
			continue
		}
		if a.seen++; a.seen <= a.Skip {
			continue
		}
		if a.Probability > 0 && f.rand.Float64() >= a.Probability {
			continue
		}
		a.hits++
		ended = ended || a.Do.ends()
		effects = append(effects, a.Do)
	}
	return effects
}

func (a *ActiveFault) concerns(r Request, now time.Time) bool {
	prefix, isPrefix := strings.CutSuffix(a.Path, "*")
	switch {
	case a.Service != "" && a.Service != r.Service,
		a.Action != "" && a.Action != r.Action,
		a.Instance != "" && a.Instance != r.Instance,
		isPrefix && !strings.HasPrefix(r.Path, prefix),
		!isPrefix && a.Path != "" && a.Path != r.Path,
		a.Count > 0 && a.hits >= a.Count,
		now.Before(a.From),
		!a.Until.IsZero() && !now.Before(a.Until):
		return false
	}
	return true
}
