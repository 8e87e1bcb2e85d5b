package delta

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	// askedAtOnce bounds how many leases etcd is asked about at the same time, askedPerDelta how many for one delta.
	askedAtOnce, askedPerDelta = 16, 1024
	// A shorter lease is taken to have all its time left: whoever holds it keeps it alive, and after a restore must first
	// find etcd again. A longer one is often never kept alive (events of Kubernetes: an hour), so what was left of it counts, as it
	// was at most so long ago.
	longLease  = 300 // seconds
	askedAfter = time.Minute
	// unknownTTL stands for one that etcd has not told yet, in seconds: a quorum is missing, or there are too many new ones.
	// The next delta has the right one.
	unknownTTL = 600
	// goneTTL is for a lease that ended after the last change of a delta, in seconds: its keys are still in the delta, and
	// go soon after a restore. etcd raises it to its minimum.
	goneTTL = 1
)

// leases knows the leases that are alive on a member, without asking for all of them all the time.
type leases struct {
	client *clientv3.Client
	limit  time.Duration // of all questions for one delta
	known  map[int64]lease
	listed []int64 // by the last list
	fresh  bool    // the last list succeeded
}

type lease struct {
	Lease
	asked time.Time // zero: never
}

func newLeases(client *clientv3.Client, interval time.Duration) *leases {
	return &leases{client: client, limit: max(time.Second, interval/2), known: map[int64]lease{}}
}

// list asks for the leases of the member. It answers from memory, behind no quorum.
func (l *leases) list(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	answer, err := l.client.Leases(ctx)
	if l.fresh = err == nil; !l.fresh {
		return // those of the last list are all still possible
	}
	l.listed = l.listed[:0]
	for _, one := range answer.Leases {
		l.listed = append(l.listed, int64(one.ID))
	}
}

// alive is every lease that was alive at the last of changes, and maybe some that ended since the delta before. A lease
// that was alive then is in the list before, which was made before these changes were complete; or in the list now; or it was
// granted and revoked between the two, and if it has keys these changes name it. all is false when a list failed.
func (l *leases) alive(ctx context.Context, changes []mvccpb.Event) (alive []Lease, all bool) {
	ids := make(map[int64]bool, len(l.listed))
	for _, id := range l.listed {
		ids[id] = true
	}
	before := l.fresh
	l.list(ctx)
	for _, id := range l.listed {
		ids[id] = true
	}
	for i := range changes {
		if id := changes[i].Kv.Lease; id != 0 {
			ids[id] = true
		}
	}
	maps.DeleteFunc(l.known, func(id int64, _ lease) bool { return !ids[id] })
	l.ask(ctx, ids)
	for id := range ids {
		alive = append(alive, l.last(id))
	}
	slices.SortFunc(alive, func(a, b Lease) int { return cmp.Compare(a.ID, b.ID) })
	return alive, before && l.fresh
}

func (l *leases) last(id int64) Lease {
	if one, ok := l.known[id]; ok {
		return one.Lease
	}
	return Lease{ID: id, TTL: unknownTTL, Remaining: unknownTTL}
}

// ask learns about new leases, and again about long ones whose turn it is.
func (l *leases) ask(ctx context.Context, ids map[int64]bool) {
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for _, id := range l.due(ids) {
		group.Go(func() error {
			answer, err := l.client.TimeToLive(ctx, clientv3.LeaseID(id))
			if err != nil {
				return nil // what was known stands
			}
			mu.Lock()
			defer mu.Unlock()
			l.known[id] = learnt(id, l.known[id], answer)
			return nil
		})
	}
	_ = group.Wait() // none returns an error
}

// due are those to ask about now, the new ones first.
func (l *leases) due(ids map[int64]bool) []int64 {
	var due []int64
	for id := range ids {
		if one := l.known[id]; one.asked.IsZero() || one.TTL >= longLease && time.Since(one.asked) > askedAfter {
			due = append(due, id)
		}
	}
	slices.SortFunc(due, func(a, b int64) int {
		return cmp.Or(l.known[a].asked.Compare(l.known[b].asked), cmp.Compare(a, b))
	})
	return due[:min(len(due), askedPerDelta)]
}

func learnt(id int64, before lease, answer *clientv3.LeaseTimeToLiveResponse) lease {
	now := lease{Lease: Lease{ID: id, TTL: answer.GrantedTTL, Remaining: answer.GrantedTTL}, asked: time.Now()}
	switch {
	case answer.TTL < 0 && before.TTL > 0: // it has ended
		now.TTL, now.Remaining = before.TTL, goneTTL
	case answer.TTL < 0:
		now.TTL, now.Remaining = goneTTL, goneTTL
	case now.TTL >= longLease:
		now.Remaining = min(now.TTL, max(0, answer.TTL))
	}
	return now
}
