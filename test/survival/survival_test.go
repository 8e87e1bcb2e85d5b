package survival

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

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
