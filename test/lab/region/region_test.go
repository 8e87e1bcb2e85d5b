package region_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

const store = "s3://rekindle-test/cluster"

// start returns a region with a filled store.
func start(t *testing.T) *region.Region {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and boots nodes")
	}
	dir := t.TempDir()
	set, err := binaries.Build(t.Context(), filepath.Join(dir, "bin"), os.Getenv("REKINDLE_BINARY"), binaries.Default)
	if err != nil {
		t.Fatal(err)
	}
	assets := filepath.Join(dir, "assets")
	if err := demo.Assets(t.Context(), assets, dir, set, []string{"minion"}, ""); err != nil {
		t.Fatal(err)
	}
	r, err := region.Start(t.Context(), region.Options{
		Dir: filepath.Join(dir, "lab"), Name: "cn-northwest-1", Binary: set.Rekindle, Standin: set.Standin,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := r.Err(); err != nil {
			t.Error(err)
		}
	})
	if err := r.CreateStore(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	if err := r.Publish(t.Context(), assets, store, os.Stderr); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGroupReplacesAnInstance(t *testing.T) {
	r := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.Group("minion", region.NodeProfile, 1, []byte("store: "+store+"\n")); err != nil {
		t.Fatal(err)
	}
	first := ready(ctx, t, r, "minion")
	if len(first.Processes()) == 0 {
		t.Fatal("no unit runs")
	}
	counts := r.Requests(first.ID)
	if counts["imds"] == 0 || counts["s3"] == 0 || counts["ec2"] != 0 {
		t.Errorf("requests: %v", counts)
	}

	r.Cloud.Terminate(first.ID)
	second := ready(ctx, t, r, "minion", first.ID)
	if second.ID == first.ID || first.PID() != 0 || len(first.Processes()) != 0 {
		t.Errorf("%s replaces %s, of which run: agent %d, units %v", second.ID, first.ID, first.PID(), first.Processes())
	}
	if r.Node(first.ID) != nil {
		t.Error("the terminated instance is still a node")
	}
}

// ready waits for the one member of a group.
func ready(ctx context.Context, t *testing.T, r *region.Region, group string, except ...string) *node.Node {
	t.Helper()
	members, err := r.AwaitMembers(ctx, group, 1, except...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := members[0].Ready(ctx); err != nil {
		log, _ := os.ReadFile(members[0].Log) //nolint:errcheck // the error says enough without it
		t.Fatalf("%v\n%s", err, log)
	}
	return members[0]
}
