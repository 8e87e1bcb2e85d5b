package region_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// marker is a file that lies on a member's volume.
const marker = "/var/lib/etcd/main/member.json"

// serves asks a node's etcd for its health.
func serves(ctx context.Context, n *node.Node, r *region.Region) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	url := "http://" + r.Cloud.Instance(n.ID).PrivateIP.String() + ":2391/health"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// awaitEtcd waits until a node's etcd serves.
func awaitEtcd(ctx context.Context, t *testing.T, n *node.Node, r *region.Region) {
	t.Helper()
	for {
		err := serves(ctx, n, r)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("etcd of %s: %v", n.ID, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestMasterLosesThings takes from a master its reachability, its access to the store, its power and at last its instance,
// but for the volume of its etcd.
func TestMasterLosesThings(t *testing.T) {
	r, _, _ := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := r.Group("master", region.MasterProfile, 1, []byte("store: "+store+"\n")); err != nil {
		t.Fatal(err)
	}
	n := ready(ctx, t, r, "master")
	awaitEtcd(ctx, t, n, r)
	t.Run("reachability", func(t *testing.T) { unreachable(ctx, t, r, n) })
	t.Run("store", func(t *testing.T) { denied(ctx, t, r, n) })
	t.Run("power", func(t *testing.T) { stopped(ctx, t, r, n) })
	t.Run("instance", func(t *testing.T) { volumeReturns(ctx, t, r, n) })
}

func unreachable(ctx context.Context, t *testing.T, r *region.Region, n *node.Node) {
	before := len(n.Processes())
	if err := n.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := serves(ctx, n, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused node's etcd: %v", err)
	}
	if state := r.Cloud.Instance(n.ID).State(); state != "running" {
		t.Errorf("EC2 says %s", state)
	}
	if after := len(n.Processes()); after != before || n.PID() == 0 {
		t.Errorf("%d of %d processes are there, agent %d", after, before, n.PID())
	}
	if err := n.Resume(); err != nil {
		t.Fatal(err)
	}
	awaitEtcd(ctx, t, n, r)
}

func denied(ctx context.Context, t *testing.T, r *region.Region, n *node.Node) {
	for _, deny := range []bool{true, false} {
		r.DenyStore(n.ID, deny)
		_, err := r.ReadStoreAs(ctx, n.ID, store, "etcd/main/lineage.json")
		refused, isAPI := errors.AsType[smithy.APIError](err)
		if deny != (isAPI && refused.ErrorCode() == "AccessDenied") || deny != (err != nil) {
			t.Errorf("denied %v: %v", deny, err)
		}
	}
}

func stopped(ctx context.Context, t *testing.T, r *region.Region, n *node.Node) {
	r.Cloud.Suspend("master", "ReplaceUnhealthy")
	if _, err := r.DetachVolume(n.ID, "main"); err == nil {
		t.Error("the volume of an instance that runs is taken away")
	}
	if err := r.Cloud.Stop(n.ID); err != nil {
		t.Fatal(err)
	}
	r.Cloud.Settle()
	if len(r.Nodes()) != 0 || r.Node(n.ID) != n || len(n.Processes()) != 0 || n.PID() != 0 {
		t.Errorf("stopped: nodes %v, processes %v, agent %d", r.Nodes(), n.Processes(), n.PID())
	}
	if err := r.Cloud.Start(n.ID); err != nil {
		t.Fatal(err)
	}
	r.Cloud.Settle()
	if again := ready(ctx, t, r, "master"); again != n {
		t.Errorf("%s starts instead of %s", again.ID, n.ID)
	}
	awaitEtcd(ctx, t, n, r)
	r.Cloud.Resume("master", "ReplaceUnhealthy")
}

func volumeReturns(ctx context.Context, t *testing.T, r *region.Region, n *node.Node) {
	want := memberOn(t, n)
	zone := r.Cloud.Instance(n.ID).Zone
	r.Cloud.Suspend("master", "Launch")
	volumes, err := r.Terminate(n.ID, "main")
	if err != nil || len(volumes) != 1 {
		t.Fatalf("volumes %v: %v", volumes, err)
	}
	if len(n.Processes()) != 0 || n.PID() != 0 || r.Node(n.ID) != nil {
		t.Errorf("processes %v, agent %d of a terminated instance", n.Processes(), n.PID())
	}
	if _, err := os.Stat(n.Root); !os.IsNotExist(err) {
		t.Errorf("its disk: %v", err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(n.Root), "log/units/etcd-main.service.log")); err != nil {
		t.Errorf("what its etcd said: %v", err)
	}
	if state := r.Cloud.Instance(n.ID).State(); state != "terminated" {
		t.Errorf("EC2 says %s", state)
	}

	if err := r.AttachNext(volumes[0], "master"); err != nil {
		t.Fatal(err)
	}
	r.Cloud.Resume("master", "Launch")
	members, err := r.AwaitMembers(ctx, "master", 1)
	if err != nil {
		t.Fatal(err)
	}
	next := members[0]
	if at := r.Cloud.Instance(next.ID).Zone; at != zone {
		t.Fatalf("the replacement is in %s, not in %s", at, zone)
	}
	if _, err := r.Terminate(n.ID); err == nil {
		t.Error("an instance ends twice")
	}
	if err := r.AttachVolume(volumes[0], next.ID); err == nil {
		t.Error("a volume is attached twice")
	}
	if err := next.Kill(); err != nil { // what it makes of the volume is the business of package etcd
		t.Fatal(err)
	}
	if got := memberOn(t, next); got != want {
		t.Errorf("the volume holds member %s, not %s", got, want)
	}
}

// memberOn is the name of the member whose data a node has.
func memberOn(t *testing.T, n *node.Node) string {
	t.Helper()
	data, err := os.ReadFile(n.Path(marker))
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Member string }
	if err := json.Unmarshal(data, &m); err != nil || m.Member == "" {
		t.Fatalf("%s: %v", data, err)
	}
	return m.Member
}

// TestZonalGroups: a group for each zone; volumes do not leave theirs, and all instances can end at once.
func TestZonalGroups(t *testing.T) {
	r, _, _ := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	groups, err := r.ZonalGroups("minion", region.NodeProfile, []byte("store: "+store+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	zones := map[string]bool{}
	var ids []string
	for _, group := range groups {
		r.Cloud.Suspend(group, "Launch")
		members, err := r.AwaitMembers(ctx, group, 1)
		if err != nil {
			t.Fatal(err)
		}
		n := members[0]
		if err := os.MkdirAll(filepath.Dir(n.Path(marker)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.Path(marker), []byte(n.ID), 0o644); err != nil {
			t.Fatal(err)
		}
		zones[r.Cloud.Instance(n.ID).Zone] = true
		ids = append(ids, n.ID)
	}
	if len(zones) != 3 {
		t.Errorf("zones %v", zones)
	}
	volumes, err := r.TerminateAll(ids, "main")
	if err != nil || len(volumes) != 3 || len(r.Nodes()) != 0 {
		t.Fatalf("volumes %v, nodes %v: %v", volumes, r.Nodes(), err)
	}
	r.Cloud.Resume(groups[0], "Launch")
	members, err := r.AwaitMembers(ctx, groups[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	n := members[0]
	if err := r.AttachVolume(volumes[1], n.ID); err == nil {
		t.Error("a volume is attached in another zone")
	}
	if err := r.AttachVolume(volumes[0], n.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(n.Path(marker)); err != nil || string(got) != ids[0] {
		t.Errorf("the volume holds %q: %v", got, err)
	}
}
