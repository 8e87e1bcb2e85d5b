package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rekindle/agent/status"
	"rekindle/test/lab/node"
)

// A minion's names are right when each place has the masters that run, and nobody else.
func TestFollowerNames(t *testing.T) {
	const old, next = "127.1.0.4", "127.1.0.9"
	for name, c := range map[string]struct {
		hosts, pods    string // the one master that they have
		peers          map[string]string
		stale, lacking bool
		says           string
	}{
		"right":              {hosts: next, pods: next, peers: map[string]string{next: "alive", old: "dead"}},
		"hosts block":        {hosts: old, pods: next, peers: map[string]string{next: "alive"}, stale: true, lacking: true, says: "/etc/hosts still has [127.1.0.4]"},
		"pods' names":        {hosts: next, pods: old, peers: map[string]string{next: "alive"}, stale: true, lacking: true, says: "/run/rekindle/hosts does not have [127.1.0.9]"},
		"still suspected":    {hosts: next, pods: next, peers: map[string]string{next: "alive", old: "suspect"}, stale: true, says: "status --peers still has"},
		"the next not known": {hosts: next, pods: next, peers: map[string]string{old: "left"}, lacking: true, says: "status --peers does not have"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, text := range map[string]string{
				"etc/hosts": old + " of.somebody.else\n# BEGIN rekindle names\n127.1.0.5 api.internal.demo\n" + c.hosts +
					" etcd-a.internal.demo\n# END rekindle names\n" + old + " x.main.etcd.internal.demo\n",
				"run/rekindle/hosts": c.pods + " api.internal.demo\n" + c.pods + " etcd-a.internal.demo\n",
			} {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var peers status.Peers
			for address, state := range c.peers {
				peers.Peers = append(peers.Peers, status.Peer{Role: "master", State: state, Addresses: []string{address}})
			}
			if err := peers.Save(filepath.Join(root, "run/rekindle/peers.json")); err != nil {
				t.Fatal(err)
			}
			m := &follower{node: node.New(node.Options{Root: root}), cluster: "demo", own: "127.1.0.5",
				masters: func() []string { return []string{next} }}
			since := time.Now()
			m.look(t.Context())
			m.answered = time.Now()
			err := m.wrong(since)
			if m.stale.IsZero() == c.stale || m.lacking.IsZero() == c.lacking || (err == nil) != (c.says == "") {
				t.Errorf("stale %t, lacking %t: %v", !m.stale.IsZero(), !m.lacking.IsZero(), err)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s", err, c.says)
			}
			if c.says == "" && m.wrong(time.Now()) == nil {
				t.Error("what was seen before counts")
			}
		})
	}
}
