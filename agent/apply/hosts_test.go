package apply_test

import (
	"os"
	"testing"

	"rekindle/agent/plan"
)

// TestHosts shares the hosts file with those who have lines in it too.
func TestHosts(t *testing.T) {
	n := newNode(t)
	must(t, n.host.MkdirAll("/etc"))
	must(t, os.WriteFile(n.path("/etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o644))
	p := &plan.Plan{Files: []plan.File{{Path: "/etc/hosts", Content: "10.0.0.9 ldap\n"}}}
	n.want("first", n.apply(p), "update file /etc/hosts")
	n.settled(p)
	_, err := n.host.Block(t.Context(), "/etc/hosts", "discovery", []byte("10.0.0.1 api"))
	must(t, err)
	n.settled(p)
	p.Files = nil
	preview, err := n.Preview(t.Context(), p)
	must(t, err)
	n.want("preview", lines(preview), "update file /etc/hosts")
	n.want("dropped", n.apply(p), "update file /etc/hosts")
	n.settled(p)
	data, err := n.host.Read("/etc/hosts")
	if want := "127.0.0.1 localhost\n# BEGIN rekindle discovery\n10.0.0.1 api\n# END rekindle discovery\n"; err != nil || string(data) != want {
		t.Errorf("%q, %v", data, err)
	}
}
