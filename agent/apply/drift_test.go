package apply_test

import (
	"os"
	"testing"
)

func TestDrift(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(n *node)
		want   []string
	}{
		"edited": {
			func(n *node) {
				must(n.t, os.WriteFile(n.path(kubeletConf), []byte("kind: KubeletConfigurati0n\n"), 0o600))
			},
			[]string{"update file " + kubeletConf + " (drift)", "restart unit kubelet.service"},
		},
		"deleted": {
			func(n *node) { must(n.t, os.Remove(n.path(kubeletConf))) },
			[]string{"create file " + kubeletConf + " (drift)", "restart unit kubelet.service"},
		},
		"chmodded": {
			func(n *node) { must(n.t, os.Chmod(n.path(kubeletConf), 0o666)) },
			[]string{"chmod file " + kubeletConf + " (drift)"},
		},
		"replaced by a link": {
			func(n *node) {
				must(n.t, os.Remove(n.path(kubeletConf)))
				must(n.t, os.Symlink("/etc/hosts", n.path(kubeletConf)))
			},
			[]string{"update file " + kubeletConf + " (drift)", "restart unit kubelet.service"},
		},
		"replaced by an empty directory": {
			func(n *node) {
				real := n.path(kubeletConf)
				must(n.t, os.Remove(real))
				must(n.t, os.Mkdir(real, 0o755))
			},
			[]string{"update file " + kubeletConf + " (drift)", "restart unit kubelet.service"},
		},
		"directory chmodded": {
			func(n *node) { must(n.t, os.Chmod(n.path("/var/lib/etcd"), 0o777)) },
			[]string{"chmod dir /var/lib/etcd (drift)"},
		},
		"directory deleted": {
			func(n *node) { must(n.t, os.Remove(n.path("/var/lib/etcd"))) },
			[]string{"create dir /var/lib/etcd (drift)"},
		},
		"asset replaced": {
			func(n *node) { must(n.t, os.WriteFile(n.path(kubeletBin), []byte("#!kubele7"), 0o755)) },
			[]string{"update asset " + kubeletBin + " (drift)", "restart unit kubelet.service"},
		},
		"asset chmodded": {
			func(n *node) { must(n.t, os.Chmod(n.path(kubeletBin), 0o644)) },
			[]string{"chmod asset " + kubeletBin + " (drift)"},
		},
		"asset touched": {
			func(n *node) { must(n.t, os.WriteFile(n.path(kubeletBin), []byte("#!kubelet"), 0o755)) },
			nil,
		},
		"unpacked file deleted": {
			func(n *node) { must(n.t, os.Remove(n.path("/opt/cni/bin/sub/deep"))) },
			[]string{"unpack asset /opt/cni/bin (drift)"},
		},
		"unpacked link turned": {
			func(n *node) {
				real := n.host.Root() + "/opt/cni/bin/link"
				must(n.t, os.Remove(real))
				must(n.t, os.Symlink("sub", real))
			},
			[]string{"unpack asset /opt/cni/bin (drift)"},
		},
		"unit stopped":  {func(n *node) { n.units.active["kubelet.service"] = "inactive" }, []string{"start unit kubelet.service (drift)"}},
		"unit failed":   {func(n *node) { n.units.active["kubelet.service"] = "failed" }, []string{"start unit kubelet.service (drift)"}},
		"unit disabled": {func(n *node) { n.units.enabled["containerd.service"] = false }, []string{"enable unit containerd.service"}},
		"unit file edited": {
			func(n *node) { must(n.t, os.WriteFile(n.path(kubeletUnit), []byte("[Service]\nX=1\n"), 0o644)) },
			[]string{"update file " + kubeletUnit + " (drift)", "restart unit kubelet.service"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := first(t)
			n.t = t
			clean := tree(t, n.host.Root())
			c.meddle(n)
			preview, err := n.Preview(t.Context(), p)
			must(t, err)
			n.want("preview", lines(preview), c.want...)
			n.want("repair", n.apply(p), c.want...)
			if now := tree(t, n.host.Root()); now != clean {
				t.Errorf("the tree differs:\n%s\nwant\n%s", now, clean)
			}
			n.settled(p)
		})
	}
}
