package apply_test

import (
	"slices"
	"testing"

	"rekindle/agent/plan"
)

// A member that was created is told so in its configuration; that alone must not bounce it. Anything else must.
func TestEtcdRestarts(t *testing.T) {
	n := newNode(t)
	p := &plan.Plan{
		Etcd:  []plan.Etcd{{Name: "main", Member: "m1", DataDir: "/var/lib/etcd", ConfigPath: "/etc/etcd/main.yaml", Unit: "etcd-main.service"}},
		Files: []plan.File{{Path: "/etc/systemd/system/etcd-main.service", Mode: 0o644, Content: "[Service]\n"}},
		Units: []plan.Unit{{Name: "etcd-main.service", State: plan.Started}},
	}
	n.etcd.state = "new"
	if got := n.apply(p); !slices.Contains(got, "start unit etcd-main.service") {
		t.Fatalf("it was not started: %q", got)
	}
	n.etcd.state = "existing"
	if got := n.apply(p); len(got) != 1 || got[0] != "update file /etc/etcd/main.yaml" {
		t.Errorf("from new to existing: %q", got)
	}
	if got := n.apply(p); len(got) != 0 {
		t.Errorf("the second time: %q", got)
	}
	p.Etcd[0].Member = "m2"
	if got := n.apply(p); !slices.ContainsFunc(got, func(line string) bool { return line[:len("restart")] == "restart" }) {
		t.Errorf("another name did not restart it: %q", got)
	}
}

// Whether the image's own units are started at boot is its packager's choice, not a role's that only restarts them.
func TestUnitsOfTheImageKeepTheirEnablement(t *testing.T) {
	n := newNode(t)
	if _, err := n.units.Enable(t.Context(), "containerd.service", true); err != nil {
		t.Fatal(err)
	}
	got := n.apply(&plan.Plan{Units: []plan.Unit{{Name: "containerd.service", State: plan.Started}}})
	if slices.Contains(got, "disable unit containerd.service") {
		t.Errorf("it was disabled: %q", got)
	}
}
