package clusters

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rekindle/agent/pki"
	"rekindle/test/lab/node"
)

// readers is docs/roles.md, "Who reads which certificate": what of these a static pod reads at its start only.
var readers = map[string][]string{
	"kube-apiserver":          {"/etc/kubernetes/pki/etcd/ca.crt", "/etc/kubernetes/pki/sa.pub", "/etc/kubernetes/pki/sa.key"},
	"kube-controller-manager": {"/etc/kubernetes/controller-manager.conf", "/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/sa.key"},
	"kube-scheduler":          {"/etc/kubernetes/scheduler.conf"},
	"kube-proxy":              {"/etc/kubernetes/kube-proxy.conf", "/etc/kubernetes/pki/ca.crt"},
}

// unitReaders is the same of units that run as processes here, by the name of their program.
var unitReaders = map[string][]string{"etcd": {"/etc/kubernetes/pki/etcd/ca.crt"}, "kubelet": nil, "containerd": nil}

// Seen is a node at one moment.
type Seen struct {
	files     map[string]string
	inputs    map[string]string // the digest in the annotation of each static pod
	processes map[string]int    // of units, by program
	said      int               // bytes of the agent's log
}

var annotation = regexp.MustCompile(`(?m)^\s+rekindle/inputs: "?([0-9a-f]{16})"?$`)

// See looks at a node.
func See(t testing.TB, n *node.Node) *Seen {
	t.Helper()
	s := &Seen{files: map[string]string{}, inputs: map[string]string{}, processes: map[string]int{}}
	err := files(n, func(path string, _ fs.FileMode, text []byte) error {
		s.files[path] = string(text)
		if dir, name := filepath.Split(path); dir == "/etc/kubernetes/manifests/" {
			m := annotation.FindSubmatch(text)
			if m == nil {
				return fmt.Errorf("%s has no annotation rekindle/inputs", path)
			}
			s.inputs[strings.TrimSuffix(name, ".yaml")] = string(m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range n.Processes() {
		program, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
		if err == nil {
			s.processes[filepath.Base(program)] = pid
		}
	}
	if s.processes["kubelet"] == 0 || s.processes["containerd"] == 0 || len(s.inputs) == 0 {
		t.Fatalf("%s runs %v, with static pods %v", n.ID, s.processes, s.inputs)
	}
	s.said = len(logOf(t, n))
	return s
}

func logOf(t testing.TB, n *node.Node) string {
	t.Helper()
	text, err := os.ReadFile(n.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Restarted wants that since then exactly these static pods were told to start again, and these units were restarted,
// once each; whatever else reads what it trusts again by itself. What was restarted must be what reads a file that changed.
func (s *Seen) Restarted(t testing.TB, n *node.Node, pods, units []string) {
	t.Helper()
	now := See(t, n)
	changed := func(path string) bool { return s.files[path] != now.files[path] }
	for _, pod := range slices.Sorted(maps.Keys(s.inputs)) {
		told, want := s.inputs[pod] != now.inputs[pod], slices.Contains(pods, pod)
		if told != want || told != slices.ContainsFunc(readers[pod], changed) {
			t.Errorf("%s: %s is told to start again: %t, want %t; of what it reads changed: %v", n.ID, pod, told, want,
				slices.DeleteFunc(slices.Clone(readers[pod]), func(path string) bool { return !changed(path) }))
		}
	}
	said := logOf(t, n)[s.said:]
	for _, program := range slices.Sorted(maps.Keys(s.processes)) {
		reads, known := unitReaders[program]
		if !known {
			continue
		}
		again, want := s.processes[program] != now.processes[program], slices.Contains(units, program)
		if again != want || again != slices.ContainsFunc(reads, changed) || now.processes[program] == 0 {
			t.Errorf("%s: %s was process %d and is %d; restarted: %t, want %t", n.ID, program, s.processes[program],
				now.processes[program], again, want)
		}
	}
	restarts := strings.Count(said, " action=restart ")
	if restarts != len(units) {
		t.Errorf("%s: the agent restarted %d units, and should have restarted %v", n.ID, restarts, units)
	}
	if _, member := s.inputs["kube-apiserver"]; member {
		s.turn(t, n, said, len(units)+len(pods) > 0)
	}
}

// turn wants what a master disrupted to lie between the beginning and the end of one turn.
func (s *Seen) turn(t testing.TB, n *node.Node, said string, disrupted bool) {
	t.Helper()
	var marks []string
	for line := range strings.Lines(said) {
		switch {
		case strings.Contains(line, "acquired lock=locks/turn.json"):
			marks = append(marks, "acquired")
		case strings.Contains(line, "released lock=locks/turn.json"):
			marks = append(marks, "released")
		case strings.Contains(line, " action=restart "),
			strings.Contains(line, "changed file=/etc/kubernetes/manifests/") && !strings.Contains(line, "/kube-proxy.yaml"):
			marks = append(marks, "disrupted")
		}
	}
	marks = slices.Compact(marks)
	want := []string{"acquired", "disrupted", "released"}
	if !disrupted {
		want = nil
	}
	if !slices.Equal(marks, want) {
		t.Errorf("%s: its turn went so: %v, want %v", n.ID, marks, want)
	}
}

// Trusting says where a node stands in a rotation: how many generations it trusts, and that each of its certificates is
// signed by the one that signs now, by the cluster's record.
func (c *Cluster) Trusting(ctx context.Context, t testing.TB, n *node.Node, generations map[string]int) error {
	t.Helper()
	var errs []error
	leaves, err := Leaves(n)
	if err != nil {
		return err
	}
	for name, want := range generations {
		text, err := os.ReadFile(n.Path(Places[name].Trusted))
		if errors.Is(err, fs.ErrNotExist) && name != pki.Kubernetes {
			continue // not on minions
		}
		if got := strings.Count(string(text), "-----BEGIN "); err != nil || got != want {
			errs = append(errs, fmt.Errorf("%s trusts %d generations of %s, want %d: %w", n.ID, got, name, want, err))
		}
		stored := c.Authority(ctx, t, name)
		if held, err := Held(n, name); err == nil && held.Fingerprint() != stored.Fingerprint() {
			errs = append(errs, fmt.Errorf("%s signs as another %s", n.ID, name))
		}
		for path, leaf := range leaves {
			if leaf.Authority != name {
				continue
			}
			if err := leaf.CheckSignatureFrom(stored.Certificates[0]); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", n.ID, path, err))
			}
		}
	}
	return errors.Join(errs...)
}

// TurnIsFree wants the lease of turns to be there, and nobody to hold it.
func (c *Cluster) TurnIsFree(ctx context.Context, t testing.TB) {
	t.Helper()
	if lease := c.Object(ctx, t, "locks/turn.json"); !strings.Contains(string(lease), `"holder":""`) {
		t.Errorf("locks/turn.json: %s", lease)
	}
}
