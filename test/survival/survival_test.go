package survival

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/test/lab/binaries"
)

// scratch is a directory of all tests together.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "survival"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(scratch); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// programs are built once for all tests.
var programs = sync.OnceValues(func() (binaries.Set, error) {
	return binaries.Build(context.Background(), filepath.Join(scratch, "bin"), os.Getenv("REKINDLE_BINARY"), binaries.Default)
})

func start(t *testing.T, masters int, config string) *Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and boots nodes")
	}
	set, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return Start(t, set, masters, config)
}

// A master that is terminated is replaced by a member of another name, and nothing is missing.
func TestOneOfThree(t *testing.T) {
	c := start(t, 3, "")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	nodes := c.Ready(ctx, 3)
	client := c.Client(nodes...)
	written := c.Write(ctx, client, "before", 50)
	before := c.Read(ctx, client)

	if _, err := c.Terminate(nodes[1].ID); err != nil {
		t.Fatal(err)
	}
	nodes = c.Ready(ctx, 3)
	client = c.Client(nodes...)
	after := c.Read(ctx, client)
	after.Holds(t, written)
	if after.Revision < before.Revision {
		t.Errorf("revision %d, was %d", after.Revision, before.Revision)
	}
	members, err := client.MemberList(ctx)
	if err != nil || len(members.Members) != 3 {
		t.Fatalf("members %v, %v", members, err)
	}
	for _, m := range members.Members {
		if m.IsLearner {
			t.Errorf("%s is a learner", m.Name)
		}
	}
	if record := c.Lineage(); record.Generation != 1 || record.State != etcdRunning || len(record.Members) != 3 || record.Change != nil {
		t.Errorf("lineage %+v", record)
	}
}

const etcdRunning = "running"

// Two of three masters are gone for good: the third one has everything that was acknowledged, and the cluster goes on in a
// new generation.
func TestTwoOfThree(t *testing.T) {
	c := start(t, 3, "")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	nodes := c.Ready(ctx, 3)
	client := c.Client(nodes...)
	written := c.Write(ctx, client, "before", 50)
	before := c.Read(ctx, client)
	if _, err := c.TerminateAll([]string{nodes[0].ID, nodes[2].ID}); err != nil {
		t.Fatal(err)
	}
	nodes = c.Ready(ctx, 3)
	client = c.Client(nodes...)
	after := c.Read(ctx, client)
	after.Holds(t, written)
	if after.Revision <= before.Revision {
		t.Errorf("revision %d, was %d", after.Revision, before.Revision)
	}
	if record := c.Lineage(); record.Generation != 2 || record.State != etcdRunning || len(record.Members) != 3 {
		t.Errorf("lineage %+v", record)
	}
}

// The only master is gone with its disk: another one restores what was stored.
func TestOneOfOne(t *testing.T) {
	c := start(t, 1, "")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	nodes := c.Ready(ctx, 1)
	client := c.Client(nodes...)
	written := c.Write(ctx, client, "before", 50)
	before := c.Read(ctx, client)
	c.Stored(ctx, before.Revision)
	if _, err := c.Terminate(nodes[0].ID); err != nil {
		t.Fatal(err)
	}
	c.restored(ctx, 1, before, written)
}

// All three masters are gone with their disks.
func TestThreeOfThree(t *testing.T) {
	c := start(t, 3, "")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	nodes := c.Ready(ctx, 3)
	client := c.Client(nodes...)
	written := c.Write(ctx, client, "before", 50)
	before := c.Read(ctx, client)
	c.Stored(ctx, before.Revision)
	if _, err := c.TerminateAll([]string{nodes[0].ID, nodes[1].ID, nodes[2].ID}); err != nil {
		t.Fatal(err)
	}
	c.restored(ctx, 3, before, written)
}

// restored checks what new masters have made of the store.
func (c *Cluster) restored(ctx context.Context, masters int, before State, written map[string]string) {
	t := c.t
	t.Helper()
	client := c.Client(c.Ready(ctx, masters)...)
	after := c.Read(ctx, client)
	after.Holds(t, written)
	if after.Revision < before.Revision+1_000_000_000 {
		t.Errorf("revision %d, was %d: a restore raises it", after.Revision, before.Revision)
	}
	if len(after.Keys) != len(before.Keys) {
		t.Errorf("%d keys, were %d", len(after.Keys), len(before.Keys))
	}
	answer := <-client.Watch(ctx, "/test/", clientv3.WithPrefix(), clientv3.WithRev(before.Revision+1))
	if answer.CompactRevision == 0 {
		t.Errorf("who watches from revision %d hears nothing of the restore: %+v", before.Revision+1, answer)
	}
	if record := c.Lineage(); record.Generation != 2 || record.State != etcdRunning || len(record.Members) != masters {
		t.Errorf("lineage %+v", record)
	}
}
