package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// HTTP is a store behind any web server: a mirror. It has no listing.
type HTTP struct {
	client *http.Client
	base   string
}

// NewHTTP is the store below base, an http or https URL. A client without a transport of its own gets one that keeps as
// many connections as the workers use; http.DefaultTransport keeps two for a host.
func NewHTTP(client *http.Client, base string) *HTTP {
	if standard, ok := http.DefaultTransport.(*http.Transport); ok && client.Transport == nil {
		transport := standard.Clone()
		transport.MaxIdleConnsPerHost = 64
		own := *client
		own.Transport = transport
		client = &own
	}
	return &HTTP{client, strings.TrimRight(base, "/")}
}

func (h *HTTP) String() string { return h.base }

// Get implements Source.
func (h *HTTP) Get(ctx context.Context, key string, r Range) (io.ReadCloser, error) {
	header := http.Header{}
	if r.Length > 0 {
		header.Set("Range", r.header())
	}
	if r.ETag != "" {
		header.Set("If-Match", r.ETag)
	}
	answer, err := h.do(ctx, http.MethodGet, key, header)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Length == 0 && answer.StatusCode == http.StatusOK:
		return answer.Body, nil
	case r.Length > 0 && answer.StatusCode == http.StatusPartialContent:
		if err := r.checkAnswer(answer.Header.Get("Content-Range")); err != nil {
			return nil, errors.Join(err, answer.Body.Close())
		}
		return answer.Body, nil
	case r.Length > 0 && answer.StatusCode == http.StatusOK:
		return skip(answer.Body, r)
	}
	return nil, errors.Join(fmt.Errorf("%s: unexpected answer %q", key, answer.Status), answer.Body.Close())
}

// Stat implements Source.
func (h *HTTP) Stat(ctx context.Context, key string) (Info, error) {
	answer, err := h.do(ctx, http.MethodHead, key, http.Header{})
	if err != nil {
		return Info{}, err
	}
	defer answer.Body.Close()
	if answer.ContentLength < 0 {
		return Info{}, fmt.Errorf("%s: no Content-Length; the mirror must serve plain files", key)
	}
	etag := answer.Header.Get("ETag")
	if strings.HasPrefix(etag, "W/") {
		etag = "" // a weak one does not vouch for bytes and fails every If-Match
	}
	return Info{Key: key, Size: answer.ContentLength, ETag: etag}, nil
}

// List implements Source.
func (h *HTTP) List(context.Context, string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) { yield(Info{}, ErrNoListing) }
}

func (h *HTTP) do(ctx context.Context, method, key string, header http.Header) (*http.Response, error) {
	address := h.base + "/" + (&url.URL{Path: key}).EscapedPath()
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header = header
	request.Header.Set("Accept-Encoding", "identity") // ranges and digests are of the bytes as published
	answer, err := h.client.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		err := fmt.Errorf("%s: answer %q", key, answer.Status)
		if sentinel := statusSentinel(answer.StatusCode); sentinel != nil {
			err = fmt.Errorf("%w: %w", sentinel, err)
		}
		return nil, errors.Join(err, answer.Body.Close())
	}
	return answer, nil
}

// skip cuts the range out of a whole body, for servers that know no ranges (python3 -m http.server).
func skip(body io.ReadCloser, r Range) (io.ReadCloser, error) {
	if _, err := io.CopyN(io.Discard, body, r.Offset); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(body, r.Length), body}, nil
}

func (r Range) header() string { return fmt.Sprintf("bytes=%d-%d", r.Offset, r.Offset+r.Length-1) }

// checkAnswer compares a Content-Range with what was asked: a proxy that answers from a wrong or shorter copy is found
// before its bytes are hashed.
func (r Range) checkAnswer(contentRange string) error {
	want := fmt.Sprintf("bytes %d-%d/", r.Offset, r.Offset+r.Length-1)
	if !strings.HasPrefix(contentRange, want) {
		return fmt.Errorf("answered range %q, asked for %q", contentRange, r.header())
	}
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.IsLoopback())
}
