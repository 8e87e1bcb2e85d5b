package etcdtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd/etcdtest"
)

// What other tests build upon: a cluster with names and certificates lives through everything that is done to members.
func TestAClusterLivesThroughItsMembers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := etcdtest.Start(t, 3, etcdtest.Options{})
	client := c.Client(t)
	written := 0
	write := func() {
		t.Helper()
		written++
		if _, err := client.Put(ctx, fmt.Sprint("key-", written), "value"); err != nil {
			t.Fatal(err)
		}
	}
	write()

	c.Leader(t).Kill()
	c.Leader(t)
	write()
	for _, m := range c.Members {
		if m.ID() == 0 {
			m.Restart(t)
		}
	}
	c.Leader(t).Stop()
	c.Leader(t)
	write()

	// One whose disk is gone comes back as another member.
	for i, m := range c.Members {
		if m.ID() != 0 {
			continue
		}
		m.Wipe(t)
		list, err := client.MemberList(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, listed := range list.Members {
			if listed.Name == m.Name {
				if _, err := client.MemberRemove(ctx, listed.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		c.Members = append(c.Members[:i:i], c.Members[i+1:]...)
		break
	}
	fresh := c.New(t)
	for {
		_, err := client.MemberAddAsLearner(ctx, []string{fresh.PeerURL})
		if err == nil {
			break
		}
		if !errors.Is(err, rpctypes.ErrUnhealthy) { // connections between peers must be five seconds old
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	fresh.Join(t)
	write()
	own := fresh.Client(t)
	for n := 1; n <= written; {
		got, err := own.Get(ctx, fmt.Sprint("key-", n), clientv3.WithSerializable())
		if err != nil {
			t.Fatal(err)
		}
		if got.Count == 1 {
			n++
		}
	}
}
