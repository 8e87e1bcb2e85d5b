//go:build fleet

package fleet

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"rekindle/agent/status"
	"rekindle/test/cloud"
	"rekindle/test/lab/node"
	"rekindle/test/machine/nspawn"
	"rekindle/test/vpc"
)

// machine is an instance.
type machine struct {
	*cloud.Instance
	*nspawn.Machine
	net  *vpc.Host
	imds *cloud.Server
	dir  string

	stop    context.CancelFunc // of its boot
	booted  chan struct{}      // closed when systemd answers, or never will
	bootErr error              // before that it is not to be read
}

// end takes power, network and disk away.
func (m *machine) end() error {
	m.stop()
	<-m.booted
	return errors.Join(m.Close(), m.imds.Close(), m.net.Close(),
		os.Rename(m.Console, m.dir+".console.log"), os.RemoveAll(m.dir))
}

// up tells whether systemd answers.
func (m *machine) up() error {
	select {
	case <-m.booted:
		return m.bootErr
	default:
		return errors.New("systemd does not answer yet")
	}
}

// node is the machine as the lab's checks know nodes: its files, seen from here. It is up.
func (m *machine) node() *node.Node { return node.New(node.Options{ID: m.ID, Root: m.Path("")}) }

// status is what the agent wrote last. Whether it still runs is not looked at.
func (m *machine) status() (*status.Status, error) {
	if err := m.up(); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(m.Path("/run/rekindle/status.json"))
	if err != nil {
		return nil, err
	}
	return status.Parse(data)
}

// save writes what the machine has to say to a directory.
func (m *machine) save(ctx context.Context, dir string) error {
	if err := m.up(); err != nil {
		return err
	}
	said, _ := m.Run(ctx, "sh", "-c", "systemctl --no-pager --failed; rekindle status; rekindle status --peers; cat /etc/hosts; journalctl --no-pager -b -o short-precise")
	return os.WriteFile(filepath.Join(dir, m.ID+".log"), []byte(said), 0o644)
}
