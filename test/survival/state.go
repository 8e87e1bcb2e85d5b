package survival

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd"
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

// Stored waits until what was written up to a revision is in the store.
func (c *Cluster) Stored(ctx context.Context, revision int64) {
	c.t.Helper()
	c.storedOf(ctx, "main", revision)
}

func (c *Cluster) storedOf(ctx context.Context, cluster string, revision int64) {
	c.t.Helper()
	c.Await(ctx, fmt.Sprintf("revision %d of %s is in the store", revision, cluster), func() error {
		if all := c.BackupsOf(ctx, cluster); len(all) == 0 || all[0].Reaches() < revision {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
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

// Generation fails unless the record has it, and runs.
func (c *Cluster) Generation(want int) {
	c.t.Helper()
	if record := c.Lineage(); record.Generation != want || record.State != etcd.Running {
		c.t.Errorf("generation %d, %s; want %d: %+v", record.Generation, record.State, want, record)
	}
}

// Restored checks what new masters have made of the store: all that was stored, and revisions higher than ever seen.
func (c *Cluster) Restored(ctx context.Context, client *clientv3.Client, generation int, before State) {
	c.t.Helper()
	after := c.Read(ctx, client)
	after.Holds(c.t, before.Keys)
	if after.Revision < before.Revision+bump {
		c.t.Errorf("revision %d, was %d: a restore raises it", after.Revision, before.Revision)
	}
	if len(after.Keys) != len(before.Keys) {
		c.t.Errorf("%d keys, were %d", len(after.Keys), len(before.Keys))
	}
	c.Compacted(ctx, client, before.Revision+1)
	c.Generation(generation)
}

// bump is by how much a restore raises the revision.
const bump = 1_000_000_000

// Compacted fails unless who watches from a revision is told that it is compacted.
func (c *Cluster) Compacted(ctx context.Context, client *clientv3.Client, revision int64) {
	c.t.Helper()
	watching, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	answer := <-client.Watch(watching, "/test/", clientv3.WithPrefix(), clientv3.WithRev(revision))
	if answer.CompactRevision == 0 {
		c.t.Errorf("who watches from revision %d hears nothing of the restore: %+v", revision, answer)
	}
}

func atLeast(n, want int) error {
	if n < want {
		return fmt.Errorf("%d of %d", n, want)
	}
	return nil
}
