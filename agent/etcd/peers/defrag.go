package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// DefragPolicy says when a defragmentation is worth that the member serves nobody meanwhile.
type DefragPolicy struct {
	Spare int64         // bytes to gain, at least; 0: 100 MiB, negative: none
	Share float64       // and of the database's size; 0: 0.3
	Every time.Duration // between two of one member; 0: 24 h
	// Stall allows it where it stops all writes, with one voter or two, at any size, and beside a learner. Without it they
	// have to wait until the database fills half of its quota.
	Stall bool
}

// Step is the defragmentation that is due.
type Step struct {
	Member    Health // whose; without a Name: none is due
	Successor uint64 // who has to lead before, 0: the member does not lead
	Why       string
}

// NextDefrag chooses one member: of the followers the one that gains most, the leader when no follower is left. None
// unless every voter is well, for while one is defragmented the others have to be the quorum. last says when each
// member, by name, was defragmented, as far as this node knows. It is pure.
func NextDefrag(view View, all []Health, last map[string]time.Time, now time.Time, p DefragPolicy) Step {
	voters, why := wellVoters(view, all, p.Stall)
	if why != "" {
		return Step{Why: why}
	}
	if p.Spare == 0 {
		p.Spare = 100 << 20
	}
	if p.Share == 0 {
		p.Share = 0.3
	}
	if p.Every == 0 {
		p.Every = 24 * time.Hour
	}
	var due []Health
	why = "no member would gain enough"
	for _, h := range voters {
		gain := h.DBSize - h.DBInUse
		switch {
		case gain < max(p.Spare, int64(p.Share*float64(h.DBSize))):
		case now.Sub(last[h.Name]) < p.Every:
			why = h.Name + " was defragmented not long ago"
		case len(voters) < 3 && !p.Stall && (h.Quota <= 0 || h.DBSize < h.Quota/2):
			why = fmt.Sprintf("with %d voters it would stop all writes, and less than half of the quota is used", len(voters))
		default:
			due = append(due, h)
		}
	}
	if len(due) == 0 {
		return Step{Why: why}
	}
	slices.SortFunc(due, func(a, b Health) int {
		if a.IsLeader != b.IsLeader {
			if b.IsLeader {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.DBSize-b.DBInUse, a.DBSize-a.DBInUse), strings.Compare(a.Name, b.Name))
	})
	step := Step{Member: due[0]}
	step.Why = fmt.Sprintf("%s would give back %d of %d bytes", step.Member.Name, step.Member.DBSize-step.Member.DBInUse, step.Member.DBSize)
	if step.Member.IsLeader {
		step.Successor = successor(voters)
	}
	return step
}

// wellVoters are the voters' healths, or why a member must not be taken out of service now.
func wellVoters(view View, all []Health, besideLearner bool) (voters []Health, why string) {
	for _, m := range view.Members {
		if m.Learner {
			if !besideLearner {
				return nil, m.Name + " is still a learner"
			}
			continue
		}
		at := slices.IndexFunc(all, func(h Health) bool { return h.ID == m.ID })
		if at < 0 {
			return nil, fmt.Sprintf("%s (%x) does not answer", m.Name, m.ID)
		}
		if ailment := all[at].ailment(); ailment != "" {
			return nil, all[at].Name + " " + ailment
		}
		if len(voters) > 0 && all[at].Leader != voters[0].Leader {
			return nil, fmt.Sprintf("%s and %s do not agree on the leader", voters[0].Name, all[at].Name)
		}
		voters = append(voters, all[at])
	}
	if !slices.ContainsFunc(voters, func(h Health) bool { return h.IsLeader }) {
		return nil, "the leader is none of the voters listed"
	}
	return voters, ""
}

// successor is the follower that has applied most; 0: there is none.
func successor(voters []Health) uint64 {
	var best Health
	for _, h := range voters {
		if !h.IsLeader && (best.ID == 0 || h.Applied > best.Applied) {
			best = h
		}
	}
	return best.ID
}

// Defragmented is what one defragmentation did.
type Defragmented struct {
	Name          string // of the member; empty: there was nothing to do
	Before, After int64  // bytes of its file
	Took          time.Duration
	Why           string
}

// Defragment defragments the one member that is due, waits until it serves again, and returns. The leader hands over
// first and is then no leader any more.
//
// While it runs the member serves nobody, so two at a time could cost the quorum. Call it on the leader's node only, and
// while holding the turn that the cluster gives to one master at a time; keep the turn until it returns, also with an
// error: it comes back once the member is well, has used up the time that a slow disk may take, or ctx ends.
func (c *Client) Defragment(ctx context.Context, p DefragPolicy, last map[string]time.Time) (Defragmented, error) {
	view, err := c.View(ctx)
	if err != nil {
		return Defragmented{}, fmt.Errorf("defragment: %w", err)
	}
	step := NextDefrag(view, c.healths(ctx), last, time.Now(), p)
	if step.Member.Name == "" {
		return Defragmented{Why: step.Why}, nil
	}
	done, err := c.defragment(ctx, step)
	if err != nil {
		return done, fmt.Errorf("defragment %s: %w", step.Member.Name, err)
	}
	return done, nil
}

// slowest is how many bytes a second a slow disk copies at least.
const slowest = 5 << 20

func (c *Client) defragment(ctx context.Context, step Step) (Defragmented, error) {
	done := Defragmented{Name: step.Member.Name, Before: step.Member.DBSize, After: step.Member.DBSize, Why: step.Why}
	if step.Successor != 0 {
		if err := c.handOver(ctx, step.Member, step.Successor); err != nil {
			return done, fmt.Errorf("hand leadership over to %x: %w", step.Successor, err)
		}
	}
	limit := 30*time.Second + time.Duration(step.Member.DBSize/slowest)*time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c.logger.Info("defragmenting", "member", step.Member.Name, "bytes", step.Member.DBSize, "limit", limit)
	began := time.Now()
	_, failed := c.member(step.Member).maintenance.Defragment(ctx, &pb.DefragmentRequest{})
	// The server goes on whether or not it is waited for.
	health, err := c.untilWell(ctx, step.Member)
	done.Took = time.Since(began)
	if failed != nil || err != nil {
		return done, errors.Join(rpctypes.Error(failed), err)
	}
	done.After = health.DBSize
	c.logger.Info("defragmented", "member", done.Name, "before", done.Before, "after", done.After, "took", done.Took)
	return done, nil
}

// handOver makes the leader give way and waits until it follows.
func (c *Client) handOver(ctx context.Context, leader Health, to uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 2*c.timeout)
	defer cancel()
	k := c.member(leader)
	if _, err := k.maintenance.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: to}); err != nil {
		return rpctypes.Error(err)
	}
	for {
		health, err := k.health(ctx)
		if err == nil && health.Leader != 0 && !health.IsLeader {
			return nil
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("%s does not follow another: %w", leader.Name, context.Cause(ctx))
		}
	}
}

// untilWell waits until a member serves and has caught up.
func (c *Client) untilWell(ctx context.Context, h Health) (Health, error) {
	for {
		wrong := ""
		health, err := c.member(h).health(ctx)
		if err != nil {
			wrong = err.Error()
		} else if wrong = health.ailment(); wrong == "" {
			return health, nil
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return health, fmt.Errorf("%s: %w", wrong, context.Cause(ctx))
		}
	}
}
