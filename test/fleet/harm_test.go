//go:build fleet

package fleet

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// harm does small harm to a cluster that is whole, which each look must find, and undoes it.
func (f *fleet) harm() {
	minion, master := of(f.all(), "minion")[0], of(f.all(), "master")[0]
	key := fmt.Sprintf("%s%06d", writePrefix, 0)
	on := func(m *machine, command string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := m.Run(ctx, "sh", "-c", command)
			return err
		}
	}
	const group = "/sys/fs/cgroup/unified/machine-i-gone"
	for _, h := range []struct {
		found    string // what the look says
		do, undo func(ctx context.Context) error
	}{
		{"acknowledged and are not there", func(ctx context.Context) error { _, err := f.writer.client.Delete(ctx, key); return err },
			func(ctx context.Context) error { _, err := f.writer.client.Put(ctx, key, key); return err }},
		{"failed units: broken.service", on(minion, "systemd-run --quiet --wait --unit=broken false || true"), on(minion, "systemctl reset-failed")},
		{"etcd-gone.internal.demo", on(minion, "echo 10.61.0.99 etcd-gone.internal.demo >> /etc/hosts"),
			on(minion, "grep -v etcd-gone /etc/hosts > /tmp/hosts; cat /tmp/hosts > /etc/hosts")},
		{"machine-i-gone, a control group", func(context.Context) error { return os.Mkdir(group, 0o755) }, func(context.Context) error { return os.Remove(group) }},
		{"API server at", on(master, "systemctl stop kubelet"), on(master, "systemctl start kubelet")},
	} {
		ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
		defer cancel()
		if err := h.do(ctx); err != nil {
			f.t.Fatal(err)
		}
		if err := f.look(ctx); err == nil || !strings.Contains(err.Error(), h.found) {
			f.t.Errorf("%q is not what a look finds: %v", h.found, err)
		}
		if err := h.undo(ctx); err != nil {
			f.t.Fatal(err)
		}
		f.await(ctx, "after "+h.found, f.look)
	}
}
