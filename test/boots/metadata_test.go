package boots

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"rekindle/agent/status"
	"rekindle/test/cloud"
)

// TestMetadataTenSecondsLate refuses connections to the metadata service for ten seconds.
func TestMetadataTenSecondsLate(t *testing.T) {
	t.Parallel()
	const late = 10 * time.Second
	p := newPlace(t)
	p.publish()
	m := p.launch("node", tagged, nil)
	p.start(m)
	wait := p.waits(m, "imds")
	if wait.Deadline.IsZero() {
		t.Error("the wait has no deadline")
	}
	time.Sleep(time.Until(p.started.Add(late)))
	p.serve(m)
	p.ready(m)
	if p.took() < late {
		t.Error("ready before there was metadata")
	}
	p.tell("metadata after %s, ready %s later; meanwhile status said %q: %s", late, p.took()-late, wait.Name, wait.For)
}

// TestTagsThirtySecondsLate hides the tags for thirty seconds, from IMDS and from EC2. Until then the node must not be
// anything.
func TestTagsThirtySecondsLate(t *testing.T) {
	t.Parallel()
	const late = 30 * time.Second
	p := newPlace(t)
	p.file("roles/minion/rootfs/etc/minion.conf", "what a node without a role could be taken for\n")
	p.publish()
	for _, service := range []string{"imds", "ec2"} {
		p.Cloud.Faults().Add(cloud.Fault{Service: service, Do: cloud.LateTags(late)})
	}
	m := p.launch("node", tagged, nil)
	p.serve(m)
	p.start(m)
	wait := p.waits(m, "tags: role")
	for time.Since(m.Instance.LaunchTime) < late-time.Second {
		now, err := m.Status()
		if err != nil {
			t.Fatal(err)
		}
		if now.State != status.StateBooting || now.Identity.Role != "" || len(now.Units) > 0 || now.Apply.Changes > 0 {
			t.Fatalf("without a role the node is %s as %q and changed %v", now.State, now.Identity.Role, now.Apply.Changed)
		}
		for _, path := range []string{"etc/node.conf", "etc/minion.conf", "var/lib/kubelet"} {
			if _, err := os.Stat(m.Path(path)); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("without a role there is %s: %v", path, err)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	now := p.ready(m)
	if now.Identity.Role != "node" {
		t.Errorf("it became %q", now.Identity.Role)
	}
	if visible := m.Instance.LaunchTime.Add(late); now.Boot.Ready.Before(visible) {
		t.Errorf("ready at %s, before the tags were visible at %s", now.Boot.Ready, visible)
	} else {
		p.tell("tags visible %s after the launch, ready %s after that; meanwhile status said %q: %s", late,
			now.Boot.Ready.Sub(visible).Round(time.Millisecond), wait.Name, wait.For)
	}
}

// TestHopLimit puts the agent behind a bridge: the answer with the session token never arrives.
func TestHopLimit(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	m := p.launch("node", tagged, map[string]any{"timeouts": map[string]any{"metadata": "5s"}}, "--once")
	if err := m.ServeMetadata(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	p.start(m)
	now := p.failed(m)
	if now.Reason != status.ReasonIMDSUnreached || !strings.Contains(now.Hint, "HttpPutResponseHopLimit") {
		t.Errorf("%s: %s (%s)", now.Reason, now.Message, now.Hint)
	}
	p.tell("%s: %s", now.Reason, now.Hint)
}

// TestTagsThrottled refuses the first twenty questions for tags as EC2 does when a whole fleet boots.
func TestTagsThrottled(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.publish()
	fault := p.Cloud.Faults().Add(cloud.Fault{Service: "ec2", Action: "DescribeTags", Count: 20, Do: cloud.Throttle})
	m := p.launch("node", cloud.InstanceSpec{}, nil)
	p.serve(m)
	p.start(m)
	wait := p.waits(m, "tags: role")
	named := p.took()
	now := p.ready(m)
	if fault.Hits() != 20 || now.Identity.Role != "node" {
		t.Errorf("%d requests throttled, role %q", fault.Hits(), now.Identity.Role)
	}
	p.tell("ready after %d throttled requests; status said %q after %s", fault.Hits(), wait.Name, named)
}

// TestTagsDenied has an instance that may not read its tags, for longer than a new policy takes to work.
func TestTagsDenied(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.publish()
	p.Cloud.Faults().Add(cloud.Fault{Service: "ec2", Action: "DescribeTags", Do: cloud.Deny})
	m := p.launch("node", cloud.InstanceSpec{}, nil, "--once")
	p.serve(m)
	p.start(m)
	now := p.failed(m)
	if now.Reason != status.ReasonTagsDenied || !strings.Contains(now.Hint, "ec2:DescribeTags") {
		t.Errorf("%s: %s (%s)", now.Reason, now.Message, now.Hint)
	}
	if p.took() > time.Minute {
		t.Errorf("said so only after %s", p.took())
	}
	p.tell("%s: %s", now.Reason, now.Hint)
}
