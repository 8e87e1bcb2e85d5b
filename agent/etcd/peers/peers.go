// Package peers speaks to the living members of a cluster: who they are, how they are, and the changes that etcd itself has
// to make.
package peers

import "context"

// Endpoint is a member that may answer.
type Endpoint struct {
	Name    string
	URL     string // its client URL: https://<member>.<etcd cluster>.etcd.internal.<cluster>:2379
	Address string // the IP address that the URL's name stands for; no resolver is asked
}

// Member is one in etcd's own list.
type Member struct {
	ID         uint64
	Name       string // empty: it never started
	PeerURLs   []string
	ClientURLs []string
	Learner    bool
}

// View is a member list that a quorum vouches for.
type View struct {
	ClusterID uint64
	Members   []Member
}

// Cluster changes the membership. Every method needs a quorum; an error that is not one of those below says nothing about
// whether the change was made.
type Cluster interface {
	// View asks for the member list, linearizably: an answer proves a quorum, an error proves nothing.
	View(ctx context.Context) (View, error)
	// AddLearner returns the new member's id; ErrExists when its URL is taken.
	AddLearner(ctx context.Context, peerURL string) (uint64, error)
	// Promote makes a learner a voter; ErrNotReady while it lags, ErrNotLearner when it is one already.
	Promote(ctx context.Context, id uint64) error
	// Remove removes a member for good; ErrNotFound when there is none.
	Remove(ctx context.Context, id uint64) error
	Close() error
}
