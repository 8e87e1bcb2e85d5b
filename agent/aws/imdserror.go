package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"rekindle/agent/status"
)

// refusal is an attempt at IMDS that brought no value.
type refusal struct {
	url       string
	method    string
	status    int  // of the answer; 0: there was none
	connected bool // to something, before the answer did not come
	err       error
}

func (r *refusal) Error() string {
	if r.status != 0 {
		return fmt.Sprintf("%s %s: HTTP %d", r.method, r.url, r.status)
	}
	return fmt.Sprintf("%s: %v", r.url, r.err)
}

func (r *refusal) Unwrap() error { return r.err }

// retry tells whether the next attempt may fare better. 403 is how IMDS says that it is turned off; 400 would be a
// mistake of our own.
func (r *refusal) retry() bool {
	return r.status != http.StatusForbidden && r.status != http.StatusBadRequest
}

// lostToken is a token whose answer never came over a connection that stands: IMDS sends it with a time to live of
// HttpPutResponseHopLimit, which a container's bridge takes one of.
func (r *refusal) lostToken() bool {
	return r.method == http.MethodPut && r.status == 0 && r.connected && errors.Is(r.err, context.DeadlineExceeded)
}

func (r *refusal) explain() error {
	switch {
	case r.lostToken():
		return unreached("raise HttpPutResponseHopLimit: aws ec2 modify-instance-metadata-options "+
			"--instance-id ID --http-put-response-hop-limit 2, or run the agent in the host's network",
			fmt.Errorf("IMDS accepts connections but its session token never arrives: %w", r))
	case r.status == http.StatusForbidden:
		return unreached("turn the metadata service on: aws ec2 modify-instance-metadata-options "+
			"--instance-id ID --http-endpoint enabled", fmt.Errorf("IMDS is turned off for this instance: %w", r))
	case r.status != 0:
		return unreached("IMDS has trouble; if it lasts, stop and start the instance", r)
	}
	return unreached("check that the instance has its metadata endpoint enabled, and that no firewall or route takes "+
		"its link-local address", r)
}

func unreached(hint string, err error) error {
	return status.Fail(status.ReasonIMDSUnreached, hint, err)
}

// trail is what the transport saw while the SDK worked on one attempt. The SDK's own error hides it: what it wraps a
// failed token in has no Unwrap.
type trail struct{ last atomic.Pointer[refusal] }

type trailKey struct{}

func withTrail(ctx context.Context) (context.Context, *trail) {
	t := new(trail)
	return context.WithValue(ctx, trailKey{}, t), t
}

// explain turns the SDK's error into ErrNotFound or a *refusal.
func (t *trail) explain(url string, err error) error {
	r := t.last.Load()
	switch {
	case r == nil:
		return &refusal{url: url, err: err}
	case r.method == http.MethodGet && r.status == http.StatusNotFound:
		return ErrNotFound
	}
	return r
}
