package survival

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
	"rekindle/test/s3"
)

func onInstance(id string) func(etcd.Member) bool {
	return func(m etcd.Member) bool { return m.Instance == id }
}

// A member whose disk came back empty, one whose machine goes on without its data, and a learner that dies, are replaced.
func TestMembersReplaced(t *testing.T) {
	survive(t, Shape{Masters: 3}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		written := c.Write(ctx, client, "before", 20)
		c.Step("empty disk", func(t *testing.T) { c.emptyDisk(ctx, t, client, nodes[0]) })
		c.Step("emptied", func(t *testing.T) { c.emptied(ctx, t, client, nodes[1]) })
		c.Step("learner", func(t *testing.T) { c.learnerDies(ctx, t) })
		client = c.Client(c.Ready(ctx, 3)...)
		c.Read(ctx, client).Holds(t, written)
		c.Generation(1)
	})
}

// emptyDisk has an instance start again without what etcd had on its disk: another member takes the old one's place on it.
func (c *Cluster) emptyDisk(ctx context.Context, t *testing.T, client *clientv3.Client, victim *node.Node) {
	members := c.Whole(ctx, client, 3)
	c.Cloud.Suspend(c.group(), "ReplaceUnhealthy")
	defer c.Cloud.Resume(c.group(), "ReplaceUnhealthy")
	if err := c.Cloud.Stop(victim.ID); err != nil {
		t.Fatal(err)
	}
	c.Cloud.Settle()
	if err := os.RemoveAll(victim.Path("/var/lib/etcd/main")); err != nil {
		t.Fatal(err)
	}
	if err := c.Cloud.Start(victim.ID); err != nil {
		t.Fatal(err)
	}
	c.Cloud.Settle()
	if _, err := victim.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	now := c.Whole(ctx, c.Client(victim), 3)
	if common(now, members) != 2 || !slices.ContainsFunc(c.Lineage().Members, onInstance(victim.ID)) {
		t.Errorf("members %v, were %v; lineage %+v", now, members, c.Lineage())
	}
}

// emptied takes from a machine what etcd had on its disk while neither etcd nor the agent runs. The machine does not start anew, so
// whoever runs its units would start etcd again 5 s (RestartSec) after the agent is back: as the old member, without its votes. The
// store is slow for it, so that joining takes longer than that.
func (c *Cluster) emptied(ctx context.Context, t *testing.T, client *clientv3.Client, victim *node.Node) {
	members := c.Whole(ctx, client, 3)
	slow := c.S3.Faults().Add(s3.Fault{
		Method: http.MethodPut, AccessKeyID: c.Cloud.Credentials(victim.ID).AccessKeyID, Do: s3.Latency(3 * time.Second),
	})
	defer slow.Remove()
	if err := victim.Destroy(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(victim.Path("/var/lib/etcd/main")); err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := victim.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	now := c.Whole(ctx, c.Client(victim), 3)
	if common(now, members) != 2 || !slices.ContainsFunc(c.Lineage().Members, onInstance(victim.ID)) {
		t.Errorf("members %v, were %v; lineage %+v", now, members, c.Lineage())
	}
}

// learnerDies ends a master while its member is a learner: whoever comes next removes it.
func (c *Cluster) learnerDies(ctx context.Context, t *testing.T) {
	nodes := c.Ready(ctx, 3)
	members := c.Whole(ctx, c.Client(nodes...), 3)
	c.End(nodes[0])
	fresh := c.launched(ctx, nodes)
	learns := func(m etcd.Member) bool { return m.Instance == fresh.ID && m.Learner }
	c.Await(ctx, "the record has a learner", func() error {
		if record := c.Lineage(); !slices.ContainsFunc(record.Members, learns) {
			return fmt.Errorf("%+v", record)
		}
		return nil
	})
	// It gets no further than that.
	held := c.S3.Faults().Add(s3.Fault{
		Method: http.MethodPut, Path: "/" + bucket + "/" + prefix + "/" + etcd.Key("main"),
		AccessKeyID: c.Cloud.Credentials(fresh.ID).AccessKeyID, Do: s3.ServerError,
	})
	defer held.Remove()
	client := c.Client(nodes[1:]...)
	var learner uint64
	c.Await(ctx, "etcd has a learner", func() error {
		asking, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		answer, err := client.MemberList(asking)
		if err != nil {
			return err
		}
		for _, m := range answer.Members {
			if m.IsLearner {
				learner = m.ID
				return nil
			}
		}
		return fmt.Errorf("%v", answer.Members)
	})
	if record := c.Lineage(); !slices.ContainsFunc(record.Members, learns) {
		t.Fatalf("it is no learner any more: %+v", record)
	}
	c.End(fresh)
	third := c.New(ctx, append(nodes, fresh))
	now := c.Whole(ctx, c.Client(third), 3)
	gone := func(m *etcdserverpb.Member) bool { return m.ID == learner }
	if slices.ContainsFunc(c.Lineage().Members, onInstance(fresh.ID)) || slices.ContainsFunc(now, gone) || common(now, members) != 2 {
		t.Errorf("members %v, were %v; lineage %+v", now, members, c.Lineage())
	}
}

// etcd on three nodes of its own, with a master that uses it.
func TestEtcdOnNodesOfItsOwn(t *testing.T) {
	survive(t, Shape{Masters: 3, Role: "etcd"}, func(ctx context.Context, c *Cluster) {
		nodes := c.Ready(ctx, 3)
		client := c.Client(nodes...)
		c.Whole(ctx, client, 3)
		endpoints := strings.Join(c.Etcd("main").Endpoints(nodes...), ", ")
		if err := c.Group("master", region.MasterProfile, 1, c.UserData("etcd: {endpoints: ["+endpoints+"]}\n")); err != nil {
			t.Fatal(err)
		}
		masters, err := c.AwaitMembers(ctx, "master", 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := masters[0].Ready(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(masters[0].Path("/var/lib/etcd/main/data")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the master has a member of its own: %v", err)
		}
		client = c.asAPIServer(masters[0], nodes)
		written := c.Write(ctx, client, "before", 20)
		c.End(nodes[0])
		more := c.Write(ctx, client, "meanwhile", 20)
		fresh := c.New(ctx, nodes)
		c.Whole(ctx, client, 3)
		c.Read(ctx, c.Client(fresh)).Holds(t, written, more)
		c.Generation(1)
	})
}
