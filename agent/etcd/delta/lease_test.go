package delta

import (
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func grant(t *testing.T, client *clientv3.Client, ttl int64) int64 {
	t.Helper()
	answer, err := client.Grant(t.Context(), ttl)
	if err != nil {
		t.Fatal(err)
	}
	return int64(answer.ID)
}

func revoke(t *testing.T, client *clientv3.Client, id int64) {
	t.Helper()
	if _, err := client.Revoke(t.Context(), clientv3.LeaseID(id)); err != nil {
		t.Fatal(err)
	}
}

// attached is a change that names a lease.
func attached(id int64) []mvccpb.Event {
	return []mvccpb.Event{{Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: 2, CreateRevision: 2, Version: 1, Lease: id}}}
}

// Whatever was alive at the last change is listed, although etcd is asked only afterwards.
func TestLeasesThatMayHaveKeys(t *testing.T) {
	t.Parallel()
	_, client := single(t)
	ended, long, short := grant(t, client, 100), grant(t, client, 3600), grant(t, client, 50)
	l := newLeases(client, time.Minute)
	l.list(t.Context())
	if _, all := l.alive(t.Context(), nil); !all {
		t.Fatal("etcd did not answer")
	}
	revoke(t, client, ended)
	brief := grant(t, client, 70) // between two lists, and named
	revoke(t, client, brief)
	got, all := l.alive(t.Context(), attached(brief))
	want := []Lease{{ended, 100, 100}, {long, 3600, 3600}, {short, 50, 50}, {brief, goneTTL, goneTTL}}
	slices.SortFunc(want, func(a, b Lease) int { return int(min(1, max(-1, a.ID-b.ID))) })
	for i := range got {
		if got[i].ID == long && got[i].Remaining > 3000 {
			got[i].Remaining = 3600 // some seconds have passed
		}
	}
	if !all || !slices.Equal(got, want) {
		t.Errorf("leases %v, complete: %t; want %v", got, all, want)
	}
	got, _ = l.alive(t.Context(), nil)
	if len(got) != 2 {
		t.Errorf("leases %v, of which two have long ended", got)
	}
	if len(l.known) != 2 {
		t.Errorf("%d leases are remembered, want 2", len(l.known))
	}
}

// What cannot be asked is neither forgotten nor taken for complete.
func TestLeasesWhileEtcdIsSilent(t *testing.T) {
	t.Parallel()
	member, client := single(t)
	id := grant(t, client, 100)
	l := newLeases(client, time.Second)
	l.list(t.Context())
	if got, all := l.alive(t.Context(), nil); !all || len(got) != 1 {
		t.Fatalf("leases %v, complete: %t", got, all)
	}
	member.Stop()
	for range 2 {
		got, all := l.alive(t.Context(), attached(id+1))
		if want := []Lease{{id, 100, 100}, {id + 1, unknownTTL, unknownTTL}}; all || !slices.Equal(got, want) {
			t.Errorf("leases %v, complete: %t; want %v, and that more may be alive", got, all, want)
		}
	}
}

func TestLeasesAsksLittle(t *testing.T) {
	l := newLeases(nil, time.Second)
	ids := map[int64]bool{}
	now := time.Now()
	for id := int64(1); id <= 4000; id++ {
		ids[id] = true
		switch {
		case id > 3500: // never asked
		case id > 3000:
			l.known[id] = lease{Lease{id, 3600, 3000}, now.Add(-2 * askedAfter)}
		case id > 2000:
			l.known[id] = lease{Lease{id, 3600, 3000}, now}
		default:
			l.known[id] = lease{Lease{id, 10, 10}, now.Add(-time.Hour)}
		}
	}
	due := l.due(ids)
	slices.Sort(due)
	if len(due) != 1000 || due[0] != 3001 {
		t.Errorf("%d leases are asked about, from %d; want the 500 new ones and the 500 long ones whose turn it is", len(due), due[0])
	}
	for id := int64(5000); id < 10_000; id++ {
		ids[id] = true
	}
	due = l.due(ids)
	if len(due) != askedPerDelta || slices.ContainsFunc(due, func(id int64) bool { return id <= 3500 }) {
		t.Errorf("%d leases at once, or old ones before new ones", len(due))
	}
}
