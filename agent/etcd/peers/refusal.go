package peers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refusals are the errors by which etcd says that it did not make the change (server/etcdserver/api/v3rpc/util.go). All
// others, above all those with "timed out", "leader changed" and "stopped" in them, may come after it was proposed.
var refusals = []struct{ theirs, ours error }{
	{rpctypes.ErrMemberLearnerNotReady, ErrNotReady},
	{rpctypes.ErrMemberNotLearner, ErrNotLearner},
	{rpctypes.ErrMemberNotFound, ErrNotFound},
	{rpctypes.ErrPeerURLExist, ErrExists},
	// Ids are made of URL and second: the same URL was added within this very second.
	{rpctypes.ErrMemberExist, ErrExists},
	{rpctypes.ErrTooManyLearners, ErrTooMany},
	{rpctypes.ErrMemberNotEnoughStarted, ErrUnhealthy},
	{rpctypes.ErrUnhealthy, ErrUnhealthy},
}

// explain says what a failed change means.
func explain(err error) error {
	err = rpctypes.Error(err)
	for _, r := range refusals {
		if errors.Is(err, r.theirs) {
			return fmt.Errorf("%w: %w", r.ours, err)
		}
	}
	return fmt.Errorf("perhaps done, perhaps not, look at the member list: %w", err)
}

// passing says that the same question may be answered a moment later: there was no leader, or another one.
func passing(err error) bool {
	var said rpctypes.EtcdError
	return errors.As(err, &said) && said.Code() == codes.Unavailable
}

// unconnected says that there was no connection, or that it broke.
func unconnected(err error) bool {
	var said rpctypes.EtcdError
	return !errors.As(err, &said) && status.Code(err) == codes.Unavailable
}

// failures are what several endpoints answered, on one line.
type failures []error

func (f failures) Error() string {
	var all []string
	for _, err := range f {
		all = append(all, err.Error())
	}
	return strings.Join(all, "; ")
}

// Unwrap leaves ErrOtherServer out unless that is what all of them are: the others may yet answer.
func (f failures) Unwrap() []error {
	var own []error
	for _, err := range f {
		if !errors.Is(err, ErrOtherServer) {
			own = append(own, err)
		}
	}
	if len(own) == 0 {
		return f
	}
	return own
}

// pause waits about as long as d, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
