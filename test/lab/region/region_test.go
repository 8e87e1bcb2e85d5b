package region_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
	"rekindle/test/lab/verify"
)

const store = "s3://rekindle-test/cluster"

// programs are built once for all tests.
var programs = sync.OnceValues(func() (binaries.Set, error) {
	return binaries.Build(context.Background(), filepath.Join(scratch, "bin"), os.Getenv("REKINDLE_BINARY"), binaries.Default)
})

// scratch is a directory of all tests together.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "region"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(scratch); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// start returns a region with a filled store, the directory that was published, and the agent.
func start(t *testing.T) (r *region.Region, assets, binary string) {
	t.Helper()
	return startIn(t, t.TempDir())
}

func startIn(t *testing.T, dir string) (r *region.Region, assets, binary string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and boots nodes")
	}
	set, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	assets = filepath.Join(dir, "assets")
	if err := demo.Assets(t.Context(), assets, dir, set, []string{"master", "minion"}, ""); err != nil {
		t.Fatal(err)
	}
	r, err = region.Start(t.Context(), region.Options{
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
	return r, assets, set.Rekindle
}

func TestGroupReplacesAnInstance(t *testing.T) {
	r, _, _ := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	groups(t, r)
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

// TestChecksSeeDamage does to a node what each check of the lab is there to see.
func TestChecksSeeDamage(t *testing.T) {
	r, assets, binary := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	sniff := verify.Sniff(r)
	defer sniff.Close()
	groups(t, r)
	ready(ctx, t, r, "master")
	n := ready(ctx, t, r, "minion")
	suite := &verify.Suite{
		Region: r, Binary: binary, Store: store, Assets: assets, Sniff: sniff,
		Requests: map[string]map[string]int{n.ID: {"imds": 20, "s3": 5, "ec2": 1}},
	}
	if err := n.Stop(ctx); err != nil { // it would repair the damage
		t.Fatal(err)
	}
	for len(n.Processes()) > 0 {
		for _, pid := range n.Processes() {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
	}
	edit(t, n.Path("/usr/local/bin/kubelet"), "x")
	edit(t, n.Path("/var/lib/kubelet/config.yaml"), "\nmaxPod: 3\n")
	if err := errors.Join(os.Remove(n.Path("/etc/kubernetes/pki/kube-proxy/client.crt")), os.Chmod(n.Path("/var/lib/kubelet/pki/kubelet.key"), 0o640)); err != nil {
		t.Fatal(err)
	}
	failed := map[string]bool{}
	err := suite.Run(ctx, func(name, saw string, _ time.Duration, err error) {
		failed[name] = err != nil
		t.Log(name, saw, err)
	})
	if err == nil {
		t.Error("the suite is content")
	}
	// The master is well, and no process spoke to anybody outside.
	want := map[string]bool{"ready": true, "objects": true, "digests": true, "etcd": false, "kubelet": true, "identity": true,
		"kubelets": true, "discovery": true, "secrets": true, "requests": true, "again": true, "loopback": false}
	if !maps.Equal(failed, want) {
		t.Errorf("failed: %v\n  want: %v", failed, want)
	}
}

// groups launches a minion, and a master that signs its certificates.
func groups(t *testing.T, r *region.Region) {
	t.Helper()
	userData := []byte("store: " + store + "\n")
	if err := errors.Join(r.Group("master", region.MasterProfile, 1, userData), r.Group("minion", region.NodeProfile, 1, userData)); err != nil {
		t.Fatal(err)
	}
}

// edit appends to a file as a person would: in place.
func edit(t *testing.T, path, text string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		// A program that was killed a moment ago may still be open: it is replaced, not written to.
		err = errors.Join(os.WriteFile(path+"~", append(data, text...), info.Mode()), os.Rename(path+"~", path))
	}
	if err != nil {
		t.Fatal(err)
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
