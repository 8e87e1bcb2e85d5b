package aws

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// probe is the HTTP client under the SDK's IMDS client. It bounds each request, body included, counts it, and leaves
// what went wrong in the context's trail.
type probe struct {
	transport http.RoundTripper
	requests  *atomic.Int64
}

// Do implements imds.HTTPClient.
func (p *probe) Do(req *http.Request) (*http.Response, error) {
	p.requests.Add(1)
	var connected atomic.Bool
	ctx, cancel := context.WithTimeout(req.Context(), imdsAttempt)
	defer cancel()
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	resp, err := p.roundTrip(req.WithContext(traced))
	seen := &refusal{
		url: req.URL.Scheme + "://" + req.URL.Host, method: req.Method, connected: connected.Load(), err: err,
	}
	if err != nil && ctx.Err() != nil {
		seen.err = ctx.Err() // the transport words a deadline in many ways
	}
	if err == nil {
		seen.status = resp.StatusCode
	}
	if t, ok := req.Context().Value(trailKey{}).(*trail); ok && (err != nil || resp.StatusCode >= 300) {
		t.last.Store(seen)
	}
	return resp, err
}

// roundTrip reads the whole body, so that the deadline covers it.
func (p *probe) roundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, imdsMaxBody))
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// imdsTransport never uses a proxy: IMDS is the machine's own, and a proxy would answer for another one.
func imdsTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:               nil,
		DialContext:         dialer.DialContext,
		MaxIdleConnsPerHost: 4,
		MaxConnsPerHost:     8,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true, // user-data may be gzip, and is to stay so
	}
}
