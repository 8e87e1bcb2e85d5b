//go:build vm

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rekindle/test/cloud"
)

const (
	firstSeed  = 1
	firstSlot  = 2 // lanes have the slots 0 and 1
	minionSlot = 3
	firstStore = "first"
	masterRole = "rekindle-master"
	nodeRole   = "rekindle-node"

	bootLimit = 8 * time.Minute
	cutLimit  = 6 * time.Minute
)

// bench is the VPC with what its tests share.
type bench struct {
	*vpc
	count  atomic.Int64 // of stores
	frozen [2]time.Time // when each lane's machine was
}

func master(store string) cloud.InstanceSpec {
	return cloud.InstanceSpec{Role: masterRole, UserData: []byte("store: s3://" + store + "\n"),
		Tags: map[string]string{"rekindle:role": "master", "rekindle:cluster": "demo"}}
}

func (b *bench) image() string { return filepath.Join(b.dir, "image.raw") }

func (b *bench) frozenDisk(lane int) string {
	return filepath.Join(b.dir, fmt.Sprintf("lane-%d", lane), "disk.qcow2")
}

func (b *bench) frozenState(lane int) string {
	return filepath.Join(b.dir, fmt.Sprintf("lane-%d", lane), "state")
}

// terse is how machines boot that lose their power: the kernel is handed over, cloud-init and what makes keys for SSH stay out,
// and so do messages below warnings, and modules that the agent has no use for.
const terse = "root=LABEL=root ro console=ttyS0,115200 net.ifnames=0 loglevel=5 systemd.show_status=1 cloud-init=disabled " +
	"systemd.mask=ssh.service systemd.mask=e2scrub_reap.service mitigations=off " +
	"module_blacklist=kvm_amd,kvm,aesni_intel,ghash_clmulni_intel,sha512_ssse3,sha256_ssse3,sha1_ssse3,crct10dif_pclmul,crc32_pclmul"

// hurry has a machine boot tersely.
func (b *bench) hurry(n *node) error {
	files, err := filepath.Glob(filepath.Join(b.dir, "boot", "[vi]*-amd64")) // initrd.img-6.1.0-... and vmlinuz-6.1.0-...
	if err != nil || len(files) != 2 {
		return errors.Join(fmt.Errorf("one kernel and its initrd wanted, not %v", files), err)
	}
	n.options.Initrd, n.options.Kernel, n.options.Append = files[0], files[1], terse
	return nil
}

// stale is how old a lane's machine may be. Its clock stands still, and S3 refuses who is off by 15 minutes.
const stale = 12 * time.Minute

// freeze boots a machine up to the start of the agent, and keeps it as it is then, for the cuts of a lane.
func (b *bench) freeze(ctx context.Context, lane int) error {
	b.frozen[lane] = time.Now()
	n, err := b.launch(ctx, b.newCloud(0), lane, fmt.Sprintf("lane-%d", lane), b.image(), master("nobody"))
	if err != nil {
		return err
	}
	defer n.off()
	if err := b.hurry(n); err != nil {
		return err
	}
	if err := n.start(""); err != nil {
		return err
	}
	if _, err := n.until(ctx, `^console: .*Starting rekindle\.service`); err != nil {
		return err
	}
	return n.machine.Save(ctx, b.frozenState(lane))
}

// TestMachines is everything, on two lanes with a machine each: the first boot of a master, its reboot, minions by cloud-init,
// and power cuts.
func TestMachines(t *testing.T) {
	if err := os.MkdirAll(*outDir, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &bench{vpc: openVPC(t)}
	var first *node
	var lost data
	t.Cleanup(func() {
		if first != nil {
			first.off()
		}
	})
	n := min(*most, len(firstBoot), len(restore))
	outcomes := make([]outcome, 2*n)
	gone := make(chan struct{}) // closed when the first master has lost its power for good
	var next atomic.Int64
	cuts := func(lane int) {
		take := func() int { return int(next.Add(1)) - 1 }
		i := take()
		for ; i < n; i = take() {
			outcomes[i] = b.row(t, lane, "first boot", firstBoot[i], nil)
		}
		<-gone
		for ; i < 2*n && first != nil; i = take() {
			outcomes[i] = b.row(t, lane, "restore", restore[i-n], &lost)
		}
	}
	both(
		func() {
			t.Run("first boot", func(t *testing.T) { first, lost = b.firstBoot(t) })
			if first != nil {
				t.Run("cloud-init", func(t *testing.T) { b.minions(t, first) })
				t.Run("reboot", func(t *testing.T) { b.reboot(t, first, lost) })
				first.off()
			}
			close(gone)
			cuts(0)
		},
		func() { cuts(1) })
	text := table(outcomes)
	t.Log("\n" + text)
	if err := os.WriteFile(filepath.Join(*outDir, "power-cuts.txt"), []byte(text), 0o644); err != nil {
		t.Error(err)
	}
	if len(b.assets) > 0 {
		t.Errorf("fetched, though the image has them: %v", b.assets)
	}
}

// both does two things at once.
func both(one, other func()) {
	var wait sync.WaitGroup
	wait.Go(one)
	wait.Go(other)
	wait.Wait()
}

// row makes one cut.
func (b *bench) row(t *testing.T, lane int, kind string, p point, lost *data) (o outcome) {
	t.Run(kind+": "+p.name, func(t *testing.T) {
		start := time.Now()
		o = b.cut(t, lane, kind, p, lost)
		t.Logf("cut after %.1f s: %s; ready %.1f s after the next start: %s; took %.1f s, %.1f s of a processor",
			o.at.after.Seconds(), o.at.text, o.ready.Seconds(), o.saw, time.Since(start).Seconds(), o.used.Seconds())
		if o.failed != nil {
			t.Error(o.failed)
		}
	})
	return o
}

// firstBoot boots a master of a cluster that never was, and fills its etcd. The console and the timeline of this boot are kept.
func (b *bench) firstBoot(t *testing.T) (*node, data) {
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	b.newStore(t, firstStore, true)
	n, err := b.launch(ctx, b.newCloud(firstSeed), firstSlot, "first", b.image(), master(firstStore))
	if err != nil {
		t.Fatal(err)
	}
	n.options.EC2 = true
	if err := n.start(""); err != nil {
		t.Fatal(err)
	}
	at, err := n.ready(ctx)
	if err != nil {
		t.Fatal(errors.Join(err, keep(n, "failed-"+n.options.Name+".log")))
	}
	t.Logf("ready after %.1f s", at.Seconds())
	if err := b.keepBoot(ctx, n); err != nil {
		t.Error(err)
	}
	d, err := b.fill(ctx, n, firstStore)
	if err != nil {
		t.Fatal(err)
	}
	return n, d
}

// keepBoot writes console.log and boot.svg.
func (b *bench) keepBoot(ctx context.Context, n *node) error {
	if err := keep(n, "console.log"); err != nil {
		return err
	}
	if _, err := n.until(ctx, `^s3 did: PUT nodes/.*/boot.json 200`); err != nil {
		return err
	}
	timeline, err := b.get(ctx, firstStore, "nodes/"+n.ID+"/boot.json")
	if err != nil {
		return err
	}
	file := filepath.Join(n.options.Dir, "boot.json")
	if err := os.WriteFile(file, timeline, 0o644); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, *binary, "timeline", "--svg", filepath.Join(*outDir, "boot.svg"), file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("timeline: %w: %s", err, out)
	}
	return nil
}

// reboot shuts the master down in order and starts it again: the same cluster, the same data.
func (b *bench) reboot(t *testing.T, n *node, before data) {
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	if err := n.machine.PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.sober(); err != nil {
		t.Error(err)
	}
	if err := n.start(""); err != nil {
		t.Fatal(err)
	}
	at, err := n.ready(ctx)
	if err != nil {
		t.Fatal(errors.Join(err, keep(n, "failed-"+n.options.Name+".log")))
	}
	after, err := b.look(ctx, n, firstStore)
	if err != nil {
		t.Fatal(err)
	}
	if after.cluster != before.cluster || after.UID != before.UID || after.Generation != before.Generation || after.Digest != before.Digest {
		t.Errorf("generation %d of %s with %d keys, was %d of %s with %d", after.Generation, after.UID, after.Keys, before.Generation, before.UID, before.Keys)
	}
	t.Logf("ready again after %.1f s, %d keys", at.Seconds(), after.Keys)
}

// variant is a way to hand the configuration to a node.
type variant struct {
	name, userData string
	says           []string // on the console
}

var variants = []variant{
	{"shell script", "#!/bin/sh\nset -e\nrekindle up --config - <<EOF\nstore: s3://" + firstStore + "\nnode:\n  labels: {from: script}\nEOF\necho the script is through\n",
		[]string{`the script is through`}},
	{"MIME", `Content-Type: multipart/mixed; boundary="=="
MIME-Version: 1.0

--==
Content-Type: text/cloud-config; charset="utf-8"

#cloud-config
write_files:
- {path: /etc/from-cloud-config, content: "written by cloud-init"}

--==
Content-Type: text/x-shellscript; charset="utf-8"

#!/bin/sh
echo "the script says: $(cat /etc/from-cloud-config)"

--==
Content-Type: application/vnd.rekindle+yaml

store: s3://` + firstStore + `

--==--
`, []string{`the script says: written by cloud-init`}},
	{"YAML", "store: s3://" + firstStore + "\n", []string{`Unhandled non-multipart \(text/x-not-multipart\) userdata`}},
}

// minions boots a minion for each way, in which cloud-init runs with its EC2 data source.
func (b *bench) minions(t *testing.T, first *node) {
	for i, how := range variants {
		t.Run(how.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
			defer cancel()
			n, err := b.launch(ctx, first.Cloud, minionSlot, fmt.Sprintf("minion-%d", i), b.image(), cloud.InstanceSpec{
				Role: nodeRole, UserData: []byte(how.userData), Tags: map[string]string{"rekindle:role": "minion", "rekindle:cluster": "demo"}})
			if err != nil {
				t.Fatal(err)
			}
			defer first.Terminate(n.ID)
			defer n.off()
			n.options.EC2 = true
			if err := n.start(""); err != nil {
				t.Fatal(err)
			}
			at, err := n.ready(ctx)
			if err != nil {
				t.Fatal(errors.Join(err, keep(n, "failed-"+n.options.Name+".log")))
			}
			for _, pattern := range append(how.says, `cloud-init.*Datasource DataSourceEc2`) {
				if _, err := n.until(ctx, `^console: .*`+pattern); err != nil {
					t.Error(err)
				}
			}
			if err := n.sober(); err != nil {
				t.Error(err)
			}
			t.Logf("ready after %.1f s", at.Seconds())
		})
	}
}
