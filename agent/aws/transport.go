package aws

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	dialTimeout = 5 * time.Second
	// readTimeout is how long a connection may be silent in both directions. The SDK has no such limit of its own, and
	// a black hole behind a security group would hold a boot forever.
	readTimeout = 30 * time.Second
)

// newHTTPClient is the SDK's own client, so that AWS_CA_BUNDLE works, over connections that do not stay silent.
func newHTTPClient(silence time.Duration) *awshttp.BuildableClient {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watched{Conn: conn, silence: silence}, nil
		}
		t.ForceAttemptHTTP2 = false // S3 has no HTTP/2, and a second protocol stack costs memory
		t.TLSHandshakeTimeout = dialTimeout
		t.MaxIdleConnsPerHost = 32 // assets are fetched in parallel
		t.IdleConnTimeout = silence
	})
}

// transportOf are a client's connections without its own idea of redirects: the SDK's follows 307 and 308.
func transportOf(client aws.HTTPClient) http.RoundTripper {
	switch c := client.(type) {
	case *awshttp.BuildableClient:
		return c.GetTransport()
	case *http.Client:
		return c.Transport
	}
	return http.DefaultTransport
}

// plainBodies hides the WriteTo of smithy-go's request bodies. In v1.28.8 it returns io.EOF once the body is closed, which
// net/http takes for a failed write when the answer was there first, as from a store close by: it then cuts the
// connection in the middle of the answer.
type plainBodies struct{ next aws.HTTPClient }

// Do implements aws.HTTPClient.
func (p plainBodies) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		req = req.Clone(req.Context())
		req.Body = struct{ io.ReadCloser }{req.Body}
	}
	return p.next.Do(req)
}

// watched is a connection that fails when nothing moves for too long. Every write also renews the deadline for reads,
// so that a long upload, during which nothing is to be read, goes on.
type watched struct {
	net.Conn
	silence time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.SetReadDeadline(time.Now().Add(w.silence)); err != nil {
		return 0, err
	}
	return w.Conn.Read(p)
}

func (w *watched) Write(p []byte) (int, error) {
	if err := w.SetDeadline(time.Now().Add(w.silence)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}
