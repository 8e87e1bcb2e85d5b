package peers

import (
	"context"
	"fmt"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Health is what one member says about itself.
type Health struct {
	Name      string // of the endpoint
	ClusterID uint64
	ID        uint64
	Leader    uint64 // the leader's id; 0: it knows none
	IsLeader  bool
	Learner   bool
	Term      uint64
	RaftIndex uint64 // committed
	Applied   uint64
	Revision  int64
	DBSize    int64 // bytes of the file, which the quota counts
	DBInUse   int64 // bytes of it that a defragmentation would leave
	Quota     int64 // bytes; negative: none
	Errors    []string
	Version   string
	// StorageVersion is that of the database; empty: the server does not say, up to 3.5.
	StorageVersion string
}

// Health asks one member about itself. It needs no quorum, only that member. ErrNotDefined when the endpoint is none of c's.
func (c *Client) Health(ctx context.Context, e Endpoint) (Health, error) {
	k, err := c.contact(e)
	if err != nil {
		return Health{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	health, err := k.health(ctx)
	if err != nil {
		return Health{}, fmt.Errorf("%s: status: %w", e.Name, err)
	}
	return health, nil
}

func (k *contact) health(ctx context.Context) (Health, error) {
	s, err := k.maintenance.Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return Health{}, rpctypes.Error(err)
	}
	return Health{
		Name: k.Name, ClusterID: s.Header.ClusterId, ID: s.Header.MemberId,
		Leader: s.Leader, IsLeader: s.Leader != 0 && s.Leader == s.Header.MemberId, Learner: s.IsLearner,
		Term: s.RaftTerm, RaftIndex: s.RaftIndex, Applied: s.RaftAppliedIndex, Revision: s.Header.Revision,
		DBSize: s.DbSize, DBInUse: s.DbSizeInUse, Quota: s.DbSizeQuota,
		Errors: s.Errors, Version: s.Version, StorageVersion: s.StorageVersion,
	}, nil
}

// lag is how many committed entries a sound member may have yet to apply.
const lag = 1000

// ailment says what is wrong with a member, apart from a full database; empty: nothing.
func (h Health) ailment() string {
	if h.Leader == 0 {
		return "knows no leader"
	}
	if h.RaftIndex > h.Applied+lag {
		return fmt.Sprintf("has %d entries to apply", h.RaftIndex-h.Applied)
	}
	for _, e := range h.Errors {
		if !strings.Contains(e, "alarm:"+pb.AlarmType_NOSPACE.String()) {
			return "reports " + e
		}
	}
	return ""
}

// healths asks all endpoints at once. Who does not answer in time, or belongs to another cluster, is left out.
func (c *Client) healths(ctx context.Context) []Health {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answers := make([]*Health, len(c.contacts))
	var group sync.WaitGroup
	for i, k := range c.contacts {
		group.Go(func() {
			health, err := k.health(ctx)
			if err == nil {
				err = c.belongs(health.ClusterID)
			}
			if err != nil {
				c.logger.Debug("a member gave no status", "member", k.Name, "error", err)
				return
			}
			answers[i] = &health
		})
	}
	group.Wait()
	var all []Health
	for _, h := range answers {
		if h != nil {
			all = append(all, *h)
		}
	}
	return all
}

// member is the contact of a member that gave its health.
func (c *Client) member(h Health) *contact {
	for _, k := range c.contacts {
		if k.Name == h.Name {
			return k
		}
	}
	return nil
}
