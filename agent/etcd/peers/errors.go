package peers

import "errors"

// What a caller branches on.
var (
	ErrNotReady    = errors.New("the learner has not caught up")
	ErrNotLearner  = errors.New("the member is no learner")
	ErrNotFound    = errors.New("no such member")
	ErrExists      = errors.New("a member with this peer URL exists")
	ErrTooMany     = errors.New("another learner is there")
	ErrUnhealthy   = errors.New("the change would endanger the quorum") // strict-reconfig-check
	ErrNotDefined  = errors.New("no endpoint to ask")
	ErrOtherServer = errors.New("the server belongs to another cluster")
)
