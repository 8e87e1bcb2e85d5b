package peers

import (
	"context"
	"errors"
	"io"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Every error that server/etcdserver/api/v3rpc/util.go of etcd 3.6 can send in answer to a change, as it comes over the wire.
func TestWhatEtcdRefusesIsToldFromWhatNobodyKnows(t *testing.T) {
	var plain rpctypes.EtcdError // sent as its text, without a code of its own
	if !errors.As(rpctypes.ErrMemberNotEnoughStarted, &plain) {
		t.Fatal("ErrMemberNotEnoughStarted has changed its type")
	}
	for _, c := range []struct{ theirs, want error }{
		{rpctypes.ErrGRPCLearnerNotReady, ErrNotReady},
		{rpctypes.ErrGRPCMemberNotLearner, ErrNotLearner},
		{rpctypes.ErrGRPCMemberNotFound, ErrNotFound},
		{rpctypes.ErrGRPCPeerURLExist, ErrExists},
		{rpctypes.ErrGRPCMemberExist, ErrExists},
		{rpctypes.ErrGRPCTooManyLearners, ErrTooMany},
		{rpctypes.ErrGRPCUnhealthy, ErrUnhealthy},
		{status.Error(codes.Unknown, plain.Error()), ErrUnhealthy},

		{rpctypes.ErrGRPCTimeout, nil},
		{rpctypes.ErrGRPCTimeoutDueToLeaderFail, nil},
		{rpctypes.ErrGRPCTimeoutDueToConnectionLost, nil},
		{rpctypes.ErrGRPCTimeoutWaitAppliedIndex, nil},
		{rpctypes.ErrGRPCLeaderChanged, nil},
		{rpctypes.ErrGRPCNoLeader, nil},
		{rpctypes.ErrGRPCNotLeader, nil},
		{rpctypes.ErrGRPCStopped, nil},
		{rpctypes.ErrGRPCNotSupportedForLearner, nil},
		{rpctypes.ErrGRPCPermissionDenied, nil},
		{rpctypes.ErrGRPCMemberBadURLs, nil},
		{rpctypes.ErrGRPCCanceled, nil},
		{rpctypes.ErrGRPCDeadlineExceeded, nil},
		{status.Error(codes.Unknown, "member promote: unknown error(etcdserver: something else)"), nil},
		{status.Error(codes.Unavailable, "connection error: desc = \"error reading from server: EOF\""), nil},
		{context.DeadlineExceeded, nil},
		{io.ErrUnexpectedEOF, nil},
	} {
		got := explain(c.theirs)
		for _, ours := range []error{ErrNotReady, ErrNotLearner, ErrNotFound, ErrExists, ErrTooMany, ErrUnhealthy, ErrNotDefined, ErrOtherServer} {
			if errors.Is(got, ours) != errors.Is(c.want, ours) {
				t.Errorf("%v became %v, want %v", c.theirs, got, c.want)
			}
		}
	}
}

func TestFailuresHideAnotherClusterWhileSomebodyMayAnswer(t *testing.T) {
	other, silence := errors.Join(ErrOtherServer), errors.New("no answer")
	if !errors.Is(failures{other, other}, ErrOtherServer) {
		t.Error("all belong to another cluster, and the error does not say so")
	}
	if err := (failures{other, silence}); errors.Is(err, ErrOtherServer) || !errors.Is(err, silence) {
		t.Error("one may yet be the right one")
	}
}
