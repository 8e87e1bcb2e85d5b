package cloud_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"rekindle/test/cloud"
)

// clock is a cloud's time, moved by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// region is a cloud with its API served, and a clock.
type region struct {
	*cloud.Cloud
	clock *clock
	url   string
}

func newRegion(t *testing.T, o cloud.Options) *region {
	t.Helper()
	r := &region{clock: newClock()}
	if o.Region == "" {
		o.Region = "cn-north-1"
	}
	o.Clock = r.clock.now
	r.Cloud = cloud.New(o)
	r.url = serve(t, r.Handler())
	t.Cleanup(r.Settle)
	return r
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// config is that of a client who holds these credentials. It does not retry, so that every answer is seen.
func (r *region) config(c cloud.Credentials) aws.Config {
	return aws.Config{
		Region:       r.Region(),
		BaseEndpoint: aws.String(r.url),
		Credentials:  credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
		HTTPClient:   &http.Client{Transport: plainBody{&http.Transport{DisableKeepAlives: true}}},
	}
}

// plainBody hides the WriteTo of smithy-go's request bodies (v1.28.8, safeWriteToReadCloser). It returns io.EOF once the
// body is closed, which net/http takes for a failed write when the answer comes before its write loop is back: it then
// cuts the connection in the middle of the answer.
type plainBody struct{ next http.RoundTripper }

func (p plainBody) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r = r.Clone(r.Context())
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return p.next.RoundTrip(r)
}

func (r *region) admin() aws.Config { return r.config(r.AdminCredentials()) }

func (r *region) ec2() *ec2.Client                 { return ec2.NewFromConfig(r.admin()) }
func (r *region) autoscaling() *autoscaling.Client { return autoscaling.NewFromConfig(r.admin()) }
func (r *region) ssm() *ssm.Client                 { return ssm.NewFromConfig(r.admin()) }
func (r *region) route53() *route53.Client         { return route53.NewFromConfig(r.admin()) }

// sts is STS as an instance sees it.
func (r *region) sts(c cloud.Credentials) *sts.Client { return sts.NewFromConfig(r.config(c)) }

// imds is the SDK's metadata client on an instance: no fallback to IMDSv1, no retries.
func (r *region) imds(t *testing.T, id string) *imds.Client {
	t.Helper()
	return imds.New(imds.Options{
		Endpoint:       serve(t, r.IMDS(id)),
		EnableFallback: aws.FalseTernary,
		Retryer:        retry.AddWithMaxAttempts(retry.NewStandard(), 1),
		HTTPClient:     &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
}

func (r *region) launch(t *testing.T, spec cloud.InstanceSpec) *cloud.Instance {
	t.Helper()
	i, err := r.Launch(spec)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// wantCode checks that err is an API error with this code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("got error %v, want %s", err, code)
	}
	equal(t, "error code", api.ErrorCode(), code)
}

// wantStatus checks the HTTP status of a failed call.
func wantStatus(t *testing.T, err error, status int) {
	t.Helper()
	var e interface{ HTTPStatusCode() int }
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want status %d", err, status)
	}
	equal(t, "status", e.HTTPStatusCode(), status)
}

// wantRefusal checks the code of an error that a method of Cloud returned.
func wantRefusal(t *testing.T, err error, code string) {
	t.Helper()
	var e *cloud.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want %s", err, code)
	}
	equal(t, "error code", e.Code, code)
}
