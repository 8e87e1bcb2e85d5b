package survival

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd"
	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/node"
)

// State is everything that etcd holds below /test/, and its revision.
type State struct {
	Revision int64
	Keys     map[string]string
}

// Read reads all keys of the test.
func (c *Cluster) Read(ctx context.Context, client *clientv3.Client) State {
	c.t.Helper()
	answer, err := client.Get(ctx, "/test/", clientv3.WithPrefix())
	if err != nil {
		c.t.Fatal(err)
	}
	s := State{Revision: answer.Header.Revision, Keys: map[string]string{}}
	for _, kv := range answer.Kvs {
		s.Keys[string(kv.Key)] = string(kv.Value)
	}
	return s
}

// Write puts n keys. One that is not acknowledged, as while a leader is elected, is put again.
func (c *Cluster) Write(ctx context.Context, client *clientv3.Client, name string, n int) map[string]string {
	c.t.Helper()
	written := map[string]string{}
	for i := range n {
		key, value := fmt.Sprintf("/test/%s/%04d", name, i), strings.Repeat(name, 20)
		c.Await(ctx, key+" is acknowledged", func() error {
			trying, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_, err := client.Put(trying, key, value)
			return err
		})
		written[key] = value
	}
	return written
}

// Holds fails unless all that was written is there.
func (s State) Holds(t *testing.T, written ...map[string]string) {
	t.Helper()
	for _, want := range written {
		for key, value := range want {
			if s.Keys[key] != value {
				t.Fatalf("%s is %q, was written as %q", key, s.Keys[key], value)
			}
		}
	}
}

// Stored waits until what was written to main up to a revision is in the store.
func (c *Cluster) Stored(ctx context.Context, revision int64) {
	c.t.Helper()
	c.StoredOf(ctx, "main", revision)
}

// StoredOf is Stored, for another etcd cluster.
func (c *Cluster) StoredOf(ctx context.Context, name string, revision int64) {
	c.t.Helper()
	if _, err := c.Etcd(name).AwaitStored(ctx, c.LineageOf(name).Generation, revision, func(keyspace.Stored) {}); err != nil {
		c.t.Fatal(err)
	}
}

// Whole waits until n voters, and nobody else, are members by etcd's word and by the record's.
func (c *Cluster) Whole(ctx context.Context, client *clientv3.Client, n int) []*etcdserverpb.Member {
	c.t.Helper()
	var members []*etcdserverpb.Member
	c.Await(ctx, fmt.Sprintf("%d voters", n), func() error {
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		answer, err := client.MemberList(asking)
		if err != nil {
			return err
		}
		members = answer.Members
		for _, m := range members {
			if m.IsLearner || m.Name == "" {
				return fmt.Errorf("%s is a learner: %v", m.Name, members)
			}
		}
		record := c.Lineage()
		if len(members) != n || len(record.Members) != n || record.Change != nil || record.State != etcd.Running {
			return fmt.Errorf("etcd has %v, the lineage %+v", members, record)
		}
		return nil
	})
	return members
}

// Generation fails unless the record of main has it, and runs.
func (c *Cluster) Generation(want int) {
	c.t.Helper()
	c.generationOf("main", want)
}

func (c *Cluster) generationOf(name string, want int) {
	c.t.Helper()
	if record := c.LineageOf(name); record.Generation != want || record.State != etcd.Running {
		c.t.Errorf("%s: generation %d, %s; want %d: %+v", name, record.Generation, record.State, want, record)
	}
}

// Restored checks what new masters have made of the store: all that was stored, and revisions higher than ever seen.
func (c *Cluster) Restored(ctx context.Context, client *clientv3.Client, generation int, before State) {
	c.t.Helper()
	c.RestoredOf(ctx, "main", client, generation, before)
}

// RestoredOf is Restored, for another etcd cluster.
func (c *Cluster) RestoredOf(ctx context.Context, name string, client *clientv3.Client, generation int, before State) {
	c.t.Helper()
	after := c.Read(ctx, client)
	if !maps.Equal(after.Keys, before.Keys) {
		c.t.Errorf("%s: %d keys, were %d, or their values differ", name, len(after.Keys), len(before.Keys))
	}
	c.Raised(ctx, client, before.Revision, after.Revision)
	c.generationOf(name, generation)
}

// bump is by how much a new generation that is made of data raises the revision.
const bump = 1_000_000_000

// Raised fails unless the revision is far higher than it was, and whoever watches from where it was is told that it is compacted.
func (c *Cluster) Raised(ctx context.Context, client *clientv3.Client, was, is int64) {
	c.t.Helper()
	if is < was+bump/2 {
		c.t.Errorf("revision %d, was %d: a new generation raises it by %d", is, was, bump)
	}
	if _, err := keyspace.Compacted(ctx, client, was+1); err != nil {
		c.t.Error(err)
	}
}

// Level waits until the members on some masters have applied all that was written so far.
func (c *Cluster) Level(ctx context.Context, client *clientv3.Client, masters []*node.Node) {
	c.t.Helper()
	written := c.Read(ctx, client).Revision
	for _, endpoint := range c.Etcd("main").Endpoints(masters...) {
		c.Await(ctx, endpoint+" has caught up", func() error {
			answer, err := client.Status(ctx, endpoint)
			if err != nil {
				return err
			}
			return atLeast(int(answer.Header.Revision), int(written))
		})
	}
}

// Leader is the one of some masters whose member leads, and in which term.
func (c *Cluster) Leader(ctx context.Context, masters []*node.Node) (leader *node.Node, term uint64) {
	c.t.Helper()
	client := c.Client(masters...)
	c.Await(ctx, "a leader", func() error {
		for _, n := range masters {
			asking, cancel := context.WithTimeout(ctx, 2*time.Second)
			answer, err := client.Status(asking, c.Etcd("main").Endpoints(n)[0])
			cancel()
			if err == nil && answer.Leader == answer.Header.MemberId {
				leader, term = n, answer.RaftTerm
				return nil
			}
		}
		return fmt.Errorf("none of %d masters", len(masters))
	})
	return leader, term
}

// common is how many of the members are in both lists.
func common(a, b []*etcdserverpb.Member) (n int) {
	for _, m := range a {
		if slices.ContainsFunc(b, func(o *etcdserverpb.Member) bool { return o.ID == m.ID }) {
			n++
		}
	}
	return n
}

func atLeast(n, want int) error {
	if n < want {
		return fmt.Errorf("%d of %d", n, want)
	}
	return nil
}
