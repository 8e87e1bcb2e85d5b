package peers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Hashed is the outcome of a comparison.
type Hashed string

// What a comparison can find.
const (
	Equal         Hashed = "equal"
	Differs       Hashed = "differs"
	NotComparable Hashed = "not comparable"
)

// MemberHash is what one voter holds at a revision.
type MemberHash struct {
	Name            string
	Revision        int64
	CompactRevision int64 // hashes at one revision compare only when this is the same
	Hash            uint32
	Err             error // why there is none
}

// Comparison is what the voters hold, compared.
type Comparison struct {
	Outcome  Hashed
	Revision int64
	// Minority names the members whose data differs from what most voters hold. Empty when there is no such majority:
	// then nobody can say from the hashes alone whose data is right.
	Minority []string
	Members  []MemberHash
	Why      string // for NotComparable and Differs
}

const (
	// attempts bounds how often a comparison is begun again because of compaction.
	attempts = 5
	// hashRate is how many bytes a second a slow disk hashes at least.
	hashRate = 20 << 20
)

// CompareHashes has every voter hash its data at one revision, which reads the whole database: call it rarely, and on one
// node only. A difference is reported when it was seen twice. The error is about asking; a voter that does not answer
// makes the result NotComparable unless the others differ.
func (c *Client) CompareHashes(ctx context.Context) (Comparison, error) {
	var last Comparison
	differed := false
	for range attempts {
		view, err := c.View(ctx)
		if err != nil {
			return Comparison{}, err
		}
		last, err = c.compareOnce(ctx, view)
		if err != nil {
			return Comparison{}, err
		}
		switch {
		case last.Outcome == Equal, last.Outcome == Differs && differed, last.missing():
			return last, nil
		case last.Outcome == Differs:
			differed = true
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return Comparison{}, err
		}
	}
	return last, nil
}

func (c *Client) compareOnce(ctx context.Context, view View) (Comparison, error) {
	revision, err := c.revision(ctx)
	if err != nil {
		return Comparison{}, err
	}
	all := c.healths(ctx)
	hashes := make([]MemberHash, 0, len(view.Members))
	for _, m := range view.Members {
		if !m.Learner { // etcd refuses the request on learners
			hashes = append(hashes, MemberHash{Name: m.Name, Err: errors.New("gave no status")})
			for _, h := range all {
				if h.ID == m.ID {
					hashes[len(hashes)-1] = MemberHash{Name: h.Name}
				}
			}
		}
	}
	var group sync.WaitGroup
	for i := range hashes {
		own := &hashes[i]
		if own.Err != nil {
			continue
		}
		group.Go(func() {
			at := slices.IndexFunc(all, func(h Health) bool { return h.Name == own.Name })
			ctx, cancel := context.WithTimeout(ctx, c.timeout+time.Duration(all[at].DBSize/hashRate)*time.Second)
			defer cancel()
			*own = c.member(all[at]).hash(ctx, revision)
		})
	}
	group.Wait()
	return Compare(revision, hashes), nil
}

// revision is the newest that a quorum has.
func (c *Client) revision(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := c.raw.Get(ctx, "\x00", clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("current revision: %w", err)
	}
	return response.Header.Revision, nil
}

// hash waits until the member has got as far as the revision.
func (k *contact) hash(ctx context.Context, revision int64) MemberHash {
	for {
		response, err := k.maintenance.HashKV(ctx, &pb.HashKVRequest{Revision: revision})
		if err == nil {
			return MemberHash{Name: k.Name, Revision: revision, CompactRevision: response.CompactRevision, Hash: response.Hash}
		}
		err = rpctypes.Error(err)
		if !errors.Is(err, rpctypes.ErrFutureRev) && !passing(err) || pause(ctx, 100*time.Millisecond) != nil {
			return MemberHash{Name: k.Name, Revision: revision, Err: err}
		}
	}
}

func (c Comparison) missing() bool {
	return slices.ContainsFunc(c.Members, func(m MemberHash) bool {
		return m.Err != nil && !errors.Is(m.Err, rpctypes.ErrCompacted)
	})
}

// Compare judges hashes of all voters at one revision. It is pure.
func Compare(revision int64, members []MemberHash) Comparison {
	c := Comparison{Outcome: NotComparable, Revision: revision, Members: members}
	// Only what was hashed after the same compaction compares; different groups may all be right.
	groups, missing := map[int64][]MemberHash{}, []string{}
	for _, m := range members {
		if m.Err != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", m.Name, m.Err))
			continue
		}
		groups[m.CompactRevision] = append(groups[m.CompactRevision], m)
	}
	for _, group := range groups {
		byHash := map[uint32][]string{}
		for _, m := range group {
			byHash[m.Hash] = append(byHash[m.Hash], m.Name)
		}
		if len(byHash) > 1 {
			c.Outcome, c.Why = Differs, "no majority holds the same data"
			c.judge(byHash, len(members))
			return c
		}
	}
	switch {
	case len(members) < 2:
		c.Why = "there is one voter"
	case len(missing) > 0:
		c.Why = fmt.Sprint("no hash of ", missing)
	case len(groups) > 1:
		c.Why = "the voters have not yet compacted to the same revision"
	default:
		c.Outcome = Equal
	}
	return c
}

// judge finds who is outvoted, by a majority of all voters and not only of those that answered.
func (c *Comparison) judge(byHash map[uint32][]string, voters int) {
	for agreed, names := range byHash {
		if len(names) <= voters/2 {
			continue
		}
		for hash, others := range byHash {
			if hash != agreed {
				c.Minority = append(c.Minority, others...)
			}
		}
		slices.Sort(c.Minority)
		c.Why = fmt.Sprintf("%v differ from what %d of %d voters hold", c.Minority, len(names), voters)
		return
	}
}
