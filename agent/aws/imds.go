package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"rekindle/agent/status"
)

const (
	imdsIPv4 = "http://169.254.169.254"
	imdsIPv6 = "http://[fd00:ec2::254]"

	imdsTimeout  = 2 * time.Minute       // default of IMDSOptions.Timeout
	imdsAttempt  = 2 * time.Second       // one request; IMDS answers within milliseconds or not at all
	imdsMinPause = 50 * time.Millisecond // of the first retry
	imdsMaxPause = 1 * time.Second       // a boot should not sleep long after IMDS came up
	imdsMaxBody  = 1 << 20               // user-data is at most 16 KiB
)

// ErrNotFound is IMDS' 404: the key does not exist (now).
var ErrNotFound = errors.New("not in IMDS")

// IMDSOptions say how the instance metadata service is reached. The zero value is right on EC2.
type IMDSOptions struct {
	// Endpoint replaces the well-known addresses. Empty: AWS_EC2_METADATA_SERVICE_ENDPOINT, then by
	// AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE, then 169.254.169.254 and, where that cannot be reached, fd00:ec2::254.
	Endpoint string
	// Timeout bounds one Get with all its retries, besides the caller's context. Default two minutes.
	Timeout time.Duration
	// Transport replaces the connection; it must not use a proxy. For tests.
	Transport http.RoundTripper
	Logger    *slog.Logger
}

// IMDS reads the instance metadata service, version 2 only. It waits for a service that is not there yet, and keeps its
// session token, renewing it when it expires or is refused. It is safe for concurrent use.
type IMDS struct {
	endpoints []*endpoint
	preferred atomic.Int32 // index of the endpoint that answered last
	timeout   time.Duration
	log       *slog.Logger
	requests  atomic.Int64
	disabled  bool
	roleLag   roleLag
}

// endpoint is one address of IMDS, with a client and so a session token of its own.
type endpoint struct {
	url    string
	client *imds.Client
	probe  *probe
}

// NewIMDS makes no request.
func NewIMDS(o IMDSOptions) *IMDS {
	m := &IMDS{timeout: o.Timeout, log: o.Logger}
	if m.timeout <= 0 {
		m.timeout = imdsTimeout
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.disabled = strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true")
	transport := o.Transport
	if transport == nil {
		transport = imdsTransport()
	}
	for _, url := range imdsURLs(o.Endpoint) {
		p := &probe{transport: transport, requests: &m.requests}
		m.endpoints = append(m.endpoints, &endpoint{url: url, probe: p, client: imds.New(imds.Options{
			Endpoint:       url,
			HTTPClient:     p,
			EnableFallback: aws.FalseTernary, // never IMDSv1
			// Get retries, with a name and a reason; retries within retries would multiply the time-outs.
			Retryer:               aws.NopRetryer{},
			DisableDefaultTimeout: true,
			ClientEnableState:     imds.ClientEnabled,
		})})
	}
	return m
}

func imdsURLs(endpoint string) []string {
	if endpoint == "" {
		endpoint = os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	}
	switch mode := os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"); {
	case endpoint != "":
		return []string{endpoint}
	case strings.EqualFold(mode, "IPv4"):
		return []string{imdsIPv4}
	case strings.EqualFold(mode, "IPv6"):
		return []string{imdsIPv6}
	}
	return []string{imdsIPv4, imdsIPv6}
}

// Requests is how many HTTP requests were made, tokens included.
func (m *IMDS) Requests() int { return int(m.requests.Load()) }

// Get reads a path below /latest/: "meta-data/placement/region", "dynamic/...", "user-data".
//
// It retries, jittered, until it has an answer, the context ends, or IMDSOptions.Timeout is over. A missing key is
// ErrNotFound at once. Other errors carry status.ReasonIMDSUnreached and say what to do.
func (m *IMDS) Get(ctx context.Context, key string) ([]byte, error) {
	if m.disabled {
		return nil, unreached("unset the variable for the agent's unit",
			errors.New("imds: AWS_EC2_METADATA_DISABLED=true is in the agent's environment"))
	}
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	began, pause, waited := time.Now(), imdsMinPause, func() {}
	defer func() { waited() }()
	var before error // of the attempt before
	for attempt := 1; ; attempt++ {
		data, err := m.try(ctx, key)
		if err == nil || errors.Is(err, ErrNotFound) {
			return data, err
		}
		if ctx.Err() != nil && before != nil {
			err = before // this attempt was cut short, so it knows less
		}
		before = err
		final, ok := errors.AsType[*refusal](err)
		if ok && !final.retry() {
			return nil, fmt.Errorf("imds: %s: %w", key, final.explain())
		}
		if attempt == 1 {
			waited = status.Waiting(ctx, "imds", "an answer from "+m.endpoints[0].url)
			m.log.Info("waiting for IMDS", "endpoint", m.endpoints[0].url, "err", err)
		}
		if ok && final.status == http.StatusUnauthorized && attempt == 1 {
			continue // the token expired or IMDS restarted: the client has dropped it, and a new one costs no pause
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, fmt.Errorf("imds: %s: %w", key, context.Cause(ctx))
			}
			if ok {
				err = final.explain()
			}
			return nil, fmt.Errorf("imds: %s: %w after %s and %d attempts: %w",
				key, context.DeadlineExceeded, time.Since(began).Round(time.Millisecond), attempt, err)
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, imdsMaxPause)
	}
}

// try asks the endpoint that answered last, and the others when it cannot be reached at all.
func (m *IMDS) try(ctx context.Context, key string) (data []byte, err error) {
	first := int(m.preferred.Load())
	var firstErr error
	for i := range m.endpoints {
		n := (first + i) % len(m.endpoints)
		data, err = m.endpoints[n].get(ctx, key)
		refused, answered := errors.AsType[*refusal](err)
		if err == nil || errors.Is(err, ErrNotFound) || answered && refused.status != 0 {
			m.preferred.Store(int32(n))
			return data, err
		}
		if firstErr == nil {
			firstErr = err // of the address that should work; the other's "network is unreachable" only distracts
		}
	}
	return nil, firstErr
}

func (e *endpoint) get(ctx context.Context, key string) ([]byte, error) {
	ctx, seen := withTrail(ctx)
	body, err := e.open(ctx, key)
	if err != nil {
		return nil, seen.explain(e.url, err)
	}
	defer body.Close()
	return io.ReadAll(body)
}

func (e *endpoint) open(ctx context.Context, key string) (io.ReadCloser, error) {
	if key == "user-data" {
		out, err := e.client.GetUserData(ctx, nil)
		if err != nil {
			return nil, err
		}
		return out.Content, nil
	}
	if rest, ok := strings.CutPrefix(key, "dynamic/"); ok {
		out, err := e.client.GetDynamicData(ctx, &imds.GetDynamicDataInput{Path: rest})
		if err != nil {
			return nil, err
		}
		return out.Content, nil
	}
	out, err := e.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: strings.TrimPrefix(key, "meta-data/")})
	if err != nil {
		return nil, err
	}
	return out.Content, nil
}
