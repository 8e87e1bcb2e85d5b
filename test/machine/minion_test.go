//go:build machine

package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rekindle/test/boots/site"
	"rekindle/test/cloud"
	"rekindle/test/lab/demo"
	"rekindle/test/machine/nspawn"
)

// cluster is a region with a store that has what the built-in roles ask for, and a master that signs certificates: a
// process of this host, since the machine that matters is another one.
type cluster struct {
	*site.Site
	t *testing.T
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	opened, err := site.Open(t.Context(), site.Options{Region: region, Dir: t.TempDir(), Programs: programs, Stores: stores})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{opened, t}
	assets := t.TempDir()
	if err := demo.Assets(t.Context(), assets, t.TempDir(), programs, []string{"master", "minion"}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(t.Context(), assets, c.Store()); err != nil {
		t.Fatal(err)
	}
	master := c.launch("master", "master", "store: "+c.Store()+"\n")
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := master.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) launch(name, role, userData string) *site.Machine {
	c.t.Helper()
	m, err := c.Launch(name, cloud.InstanceSpec{
		Metadata: cloud.MetadataOptions{Tags: true}, UserData: []byte(userData),
		Tags: map[string]string{"rekindle:role": role, "rekindle:cluster": "demo"},
	}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := m.ServeMetadata(c.t.Context(), 1); err != nil {
		c.t.Fatal(err)
	}
	return m
}

// minion is an instance of the region on a machine of its own, off. More files go onto its disk.
func (c *cluster) minion(userData string, files map[string]string) *machine {
	c.t.Helper()
	instance := c.launch("minion", "minion", userData)
	image, err := os.ReadFile(instance.Path("/etc/rekindle/10-site.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	// Debian's containerd is not the cluster's: the image of a node has none.
	all := map[string]string{
		"/etc/rekindle/10-site.yaml": string(image),
		"/etc/rekindle/agent.env":    "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + instance.Endpoint + "\n",
	}
	for path, text := range files {
		all[path] = text
	}
	return newMachine(c.t, nspawn.Options{Files: all})
}

// after is a user's unit that needs a node which is ready.
const after = `[Unit]
After=rekindle-ready.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/rekindle status
[Install]
WantedBy=rekindle-ready.target
`

// TestMinion boots the built-in minion by its units, in their sandbox. The agent is then restarted, killed, and the
// machine rebooted: kubelet and containerd run on, or come back.
func TestMinion(t *testing.T) {
	c := newCluster(t)
	m := c.minion("store: "+c.Store()+"\n", map[string]string{"/etc/systemd/system/after.service": after})
	m.chroot("systemctl", "enable", "after.service")
	m.boot()
	m.until("rekindle.service", "ActiveState", "active")
	m.until("after.service", "ActiveState", "active")
	m.noCycle()
	for _, unit := range []string{"kubelet.service", "containerd.service", "rekindle-ready.target", "multi-user.target"} {
		m.until(unit, "ActiveState", "active")
	}
	t.Log(m.run("rekindle", "status"))
	console, err := os.ReadFile(m.Console)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(console), "rekindle: READY minion") {
		t.Error("the console has no line of the agent's")
	}
	if denied := m.run("sh", "-c", "journalctl -b -t rekindle | grep -i -E 'permission|not permitted|read-only' || true"); denied != "" {
		t.Errorf("the sandbox is in the way: %s", denied)
	}

	// The agent listens itself, as the role was not known when sockets were made. Who wants the target wants the socket, too.
	if late := m.run("sh", "-c", "journalctl -b -u rekindle-api.socket | grep -i -E 'fail|refus' || true"); late != "" {
		t.Errorf("the socket was started when it was too late: %s", late)
	}
	if failed := m.run("systemctl", "list-units", "--failed", "--plain", "--no-legend"); failed != "" {
		t.Errorf("failed units: %s", failed)
	}

	kubelet, agent := m.property("kubelet.service", "MainPID"), m.property("rekindle.service", "MainPID")
	m.run("sh", "-c", "chown 1 /etc/kubernetes && chmod 700 /etc/kubernetes") // CAP_DAC_OVERRIDE and CAP_FOWNER are for this
	m.run("systemctl", "restart", "rekindle.service")                         // returns when the node is ready
	m.until("rekindle-api.socket", "ActiveState", "active")                   // from the second start on
	if mode := m.run("stat", "--format=%a", "/etc/kubernetes"); mode != "755" {
		t.Errorf("/etc/kubernetes has mode %s", mode)
	}
	m.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "rekindle.service")
	m.eventually("the agent is back", func() bool {
		return m.property("rekindle.service", "NRestarts") == "1" && m.property("rekindle.service", "ActiveState") == "active"
	})
	if again := m.property("rekindle.service", "MainPID"); again == agent || again == "0" {
		t.Errorf("the agent's PID is %s, was %s", again, agent)
	}
	if again := m.property("kubelet.service", "MainPID"); again != kubelet {
		t.Errorf("kubelet's PID is %s, was %s", again, kubelet)
	}

	if err := m.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.boot()
	m.until("after.service", "ActiveState", "active")
	m.until("kubelet.service", "ActiveState", "active")
	m.noCycle()
	if _, err := os.Stat(filepath.Join(m.Root, "var/lib/kubelet/config.yaml")); err != nil {
		t.Error(err)
	}
}

// TestUserDataScript: the configuration comes from a script that cloud-init runs at the end of the boot, while the agent
// waits for it. Neither waits for the other.
func TestUserDataScript(t *testing.T) {
	c := newCluster(t)
	script := "#!/bin/sh\nset -e\nrekindle up --config - <<END\nstore: " + c.Store() + "\nEND\necho handed over > /run/script\n"
	m := c.minion("", map[string]string{
		"/etc/cloud/cloud.cfg.d/90-seed.cfg":    "datasource_list: [NoCloud]\n",
		"/var/lib/cloud/seed/nocloud/user-data": script,
		"/var/lib/cloud/seed/nocloud/meta-data": "instance-id: i-1\n",
		"/etc/cloud/ds-identify.cfg":            "policy: enabled\n",
	})
	m.boot()
	m.until("cloud-final.service", "ActiveState", "active") // failed, if the script did
	if out := m.run("cat", "/run/script"); out != "handed over" {
		t.Errorf("the script: %s", out)
	}
	m.until("rekindle.service", "ActiveState", "active")
	m.until("kubelet.service", "ActiveState", "active")
	m.until("rekindle-ready.target", "ActiveState", "active")
	m.noCycle()
	t.Log(m.run("rekindle", "status"))
}
