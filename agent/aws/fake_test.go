package aws

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"rekindle/agent/status"
)

// fakeIMDS is IMDSv2 in memory, so that time in a synctest bubble can pass.
type fakeIMDS struct {
	mu     sync.Mutex
	values map[string]string // by path below /latest/
	before func(*http.Request) (*http.Response, error)
	issued map[string]time.Time
	seen   []string // "PUT api/token", "GET meta-data/mac"
	next   byte
}

func (f *fakeIMDS) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.seen = append(f.seen, req.Method+" "+strings.TrimPrefix(req.URL.Path, "/latest/"))
	before := f.before
	f.mu.Unlock()
	if before != nil {
		if resp, err := before(req); resp != nil || err != nil {
			return resp, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := strings.TrimPrefix(req.URL.Path, "/latest/")
	if req.Method == http.MethodPut && key == "api/token" {
		ttl, err := time.ParseDuration(req.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") + "s")
		if err != nil {
			return answer(req, 400, ""), nil
		}
		f.next++
		token := "token-" + string('a'+f.next)
		if f.issued == nil {
			f.issued = map[string]time.Time{}
		}
		f.issued[token] = time.Now().Add(ttl)
		resp := answer(req, 200, token)
		resp.Header.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", req.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
		return resp, nil
	}
	if until, ok := f.issued[req.Header.Get("X-Aws-Ec2-Metadata-Token")]; !ok || time.Now().After(until) {
		return answer(req, 401, ""), nil
	}
	value, ok := f.values[key]
	if !ok {
		return answer(req, 404, ""), nil
	}
	return answer(req, 200, value), nil
}

// count is how often a request was made.
func (f *fakeIMDS) count(request string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.seen {
		if s == request {
			n++
		}
	}
	return n
}

func answer(req *http.Request, code int, body string) *http.Response {
	return &http.Response{
		StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}
}

// hang answers nothing, over a connection that stands when connected.
func hang(req *http.Request, connected bool) (*http.Response, error) {
	if trace := httptrace.ContextClientTrace(req.Context()); connected && trace != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func newFake(values map[string]string) (*fakeIMDS, *IMDS) {
	f := &fakeIMDS{values: values}
	return f, NewIMDS(IMDSOptions{Transport: f, Endpoint: "http://imds.test"})
}

// waits records what was waited for.
type waits struct {
	mu    sync.Mutex
	names []string
	open  int
}

func (w *waits) Begin(ctx context.Context, name, _ string) status.WaitFunc {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := ctx.Deadline(); !ok {
		name += " without a deadline"
	}
	w.names = append(w.names, name)
	w.open++
	return sync.OnceFunc(func() { w.mu.Lock(); w.open--; w.mu.Unlock() })
}

func roleList() *imds.GetMetadataInput {
	return &imds.GetMetadataInput{Path: "/iam/security-credentials/"}
}

func clearIMDSEnv(t *testing.T) {
	for _, name := range []string{
		"AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
	} {
		t.Setenv(name, "")
	}
}

func wantReason(t *testing.T, err error, reason status.Reason, words ...string) {
	t.Helper()
	got, hint := status.ReasonOf(err)
	if err == nil || got != reason {
		t.Fatalf("reason %s of %v, want %s", got, err, reason)
	}
	for _, w := range words {
		if !strings.Contains(err.Error()+hint, w) {
			t.Errorf("%q is not in: %v (%s)", w, err, hint)
		}
	}
}
