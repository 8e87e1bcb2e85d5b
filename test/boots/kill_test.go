package boots

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rekindle/test/boots/site"
)

// kills is how many points of a boot the agent is killed at.
const kills = 10

// busyRole has one of everything: files, modes, an object of several chunks, an archive, a oneshot and a service.
const busyRole = `description: a bit of everything
dirs: [{path: /var/lib/busy, mode: "0750"}]
assets:
- {object: bin/large, path: /opt/large}
- {object: tools.tar.gz, path: /opt/tools, unpack: true}
files:
- {path: /usr/bin/busy, mode: "0755"}
- {path: /usr/bin/once, mode: "0755"}
- {path: /etc/busy.secret, mode: "0600"}
units:
- {name: once.service, inputs: [/etc/busy.secret]}
- {name: busy.service, enable: true, inputs: [/etc/node.conf, /opt/tools]}
`

// TestKilledAnywhere kills the agent at ten points of its boot, on ten nodes, and starts it again. Every node must
// become the same as one whose boot was not disturbed, with nothing half done left behind.
func TestKilledAnywhere(t *testing.T) {
	p := newPlace(t)
	p.busy()
	p.publish()
	undisturbed := p.launch("undisturbed", tagged, nil)
	p.serve(undisturbed)
	p.start(undisturbed)
	boot := p.ready(undisturbed).Boot
	length := boot.Ready.Sub(p.started)
	want := p.settled(undisturbed)
	if len(want) < 80 {
		t.Fatalf("only %d files: %v", len(want), want)
	}
	p.tell("an undisturbed boot takes %s and makes a tree of %d entries", length.Round(time.Millisecond), len(want))
	for i := range kills {
		at := length * time.Duration(2*i+1) / (2 * kills)
		m := p.launch(fmt.Sprintf("killed-%d", i), tagged, nil)
		p.serve(m)
		p.start(m)
		time.Sleep(at)
		if err := m.Kill(); err != nil {
			t.Fatal(err)
		}
		left := len(tree(t, m))
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		p.ready(m)
		got := p.settled(m)
		differ := differences(want, got)
		for _, difference := range differ {
			t.Errorf("killed after %s: %s", at, difference)
		}
		p.tell("killed after %s with %d of %d entries there; started again, %d entries differ", at.Round(time.Millisecond), left,
			len(want), len(differ))
	}
}

// busy makes the role and what it needs.
func (p *place) busy() {
	p.t.Helper()
	p.file("roles/node/role.yaml", busyRole)
	p.file("roles/node/rootfs/etc/busy.secret", "nothing really\n")
	p.file("roles/node/rootfs/usr/bin/busy", "#!/bin/sh\nexec /bin/sleep 600\n")
	p.file("roles/node/rootfs/usr/bin/once", "#!/bin/sh\n/bin/date >> $REKINDLE_ROOT/run/once\n")
	p.file("roles/node/rootfs/etc/systemd/system/busy.service", "[Service]\nExecStart=/usr/bin/busy\nRestart=always\n[Install]\nWantedBy=multi-user.target\n")
	p.file("roles/node/rootfs/etc/systemd/system/once.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/once\n")
	for i := range 20 {
		p.file(fmt.Sprintf("roles/node/rootfs/etc/busy.d/%02d.conf", i), strings.Repeat("setting\n", i))
	}
	p.noise("bin/large", 5*chunk+mib, 3)
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprintf("bin/tool-%02d", i)] = strings.Repeat(fmt.Sprint("tool ", i, "\n"), 1000)
	}
	archive(p.t, filepath.Join(p.assets, "tools.tar.gz"), files)
}

// settled is the tree of a node whose agent was stopped in order.
func (p *place) settled(m *site.Machine) map[string]string {
	p.t.Helper()
	running := m.Processes()
	if len(running) == 0 {
		p.t.Errorf("%s: no unit runs", m.Root)
	}
	if err := m.Stop(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	return tree(p.t, m)
}

// private is what belongs to one node or one boot: its content differs, and its presence is compared all the same.
var private = []string{"/etc/rekindle/10-site.yaml", "/dev/console", "/var/lib/rekindle/boot.json"}

// tree says of every path what is there: mode, and digest or target. What is in /run is the state of one boot.
func tree(t *testing.T, m *site.Machine) map[string]string {
	t.Helper()
	entries := map[string]string{}
	err := filepath.WalkDir(m.Root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, m.Root)
		if name == "/run" || name == "/var/log" {
			return fs.SkipDir
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		entries[name] = info.Mode().String()
		switch {
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			entries[name] += " -> " + strings.TrimPrefix(target, m.Root)
			return err
		case info.Mode().IsRegular() && !slices.Contains(private, name) && !strings.HasPrefix(name, "/var/lib/rekindle/"):
			data, err := os.ReadFile(path)
			entries[name] += fmt.Sprintf(" %x", sha256.Sum256(data))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func differences(want, got map[string]string) []string {
	var all []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		switch {
		case got[path] == "":
			all = append(all, path+" is missing")
		case got[path] != want[path]:
			all = append(all, fmt.Sprintf("%s is %s, want %s", path, got[path], want[path]))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if want[path] == "" {
			all = append(all, path+" is left over")
		}
	}
	return all
}
