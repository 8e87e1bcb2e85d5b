//go:build fleet

package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/assets"
	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/machine/nspawn"
)

// baseDir keeps Debian's tree, which test/machine begins with as well.
const baseDir = "/var/tmp/rekindle-machine"

// The versions of the agent: that of the image, and that of the upgrade.
const (
	oldVersion = "v0.1.0"
	newVersion = "v0.2.0"
)

// What makeImage leaves in the directory of the run.
func assetsDir(dir string) string  { return filepath.Join(dir, "assets") }
func newerDeb(dir string) string   { return filepath.Join(dir, "new", "rekindle_0.2.0-1_amd64.deb") }
func imageLayer(dir string) string { return filepath.Join(dir, "image") }

// imageYAML is the image's layer of the configuration. All that an AMI would not say is where the APIs are.
const imageYAML = `aws:
  endpoints:
    ec2: http://10.61.0.1:4566
    autoscaling: http://10.61.0.1:4566
    sts: http://10.61.0.1:4566
    ssm: http://10.61.0.1:4566
    kms: http://10.61.0.1:4566
    route53: http://10.61.0.1:4566
    s3: http://10.61.0.2:7070
  pathStyle: true
etcd: {runAs: unit}
`

// provision turns Debian's tree into the image. What it purges belongs to the tests of other packages; the units that it masks
// have no place on a node that is replaced, not maintained.
const provision = `set -e
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
dpkg --purge cloud-init containerd runc
dpkg --install /tmp/run/old/rekindle_*.deb
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer systemd-timesyncd.service systemd-pstore.service getty.target console-getty.service systemd-logind.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-random-seed.service
rekindle bake --role master,minion,loadbalancer --from dir:///tmp/run/store --import=false
rekindle bake --check
`

// makeImage makes the image and what else the machines need.
func makeImage(ctx context.Context, dir string) error {
	base, err := nspawn.Base(ctx, baseDir)
	if err != nil {
		return err
	}
	programs, err := binaries.Build(ctx, filepath.Join("..", "..", "out", "lab-bin"), *binary, binaries.Default)
	if err != nil {
		return err
	}
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	work, working := errgroup.WithContext(ctx)
	work.Go(func() error { return pack(working, *binary, oldVersion, filepath.Join(dir, "old")) })
	work.Go(func() error {
		newer := filepath.Join(scratch, "rekindle")
		build := exec.CommandContext(working, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+newVersion, "-o", newer, "./cmd/rekindle")
		build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, out)
		}
		return pack(working, newer, newVersion, filepath.Join(dir, "new"))
	})
	work.Go(func() error {
		if err := demo.Assets(working, assetsDir(dir), scratch, programs, demo.Roles, ""); err != nil {
			return err
		}
		target, err := assets.ParseTarget("dir://"+filepath.Join(dir, "store"), nil)
		if err != nil {
			return err
		}
		_, err = assets.Publish(working, assets.PublishOptions{Dir: assetsDir(dir), Target: target, Parallel: 2})
		return err
	})
	if err := work.Wait(); err != nil {
		return err
	}
	return bake(ctx, dir, base)
}

// pack makes the deb of an agent.
func pack(ctx context.Context, agent, version, to string) error {
	build := exec.CommandContext(ctx, "systemd/package/build.sh", agent, version, "amd64", to)
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "PACKAGERS=deb", "COMPRESSION=none")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build.sh: %w\n%s", err, out)
	}
	return nil
}

// bake makes the layer of a disk that is the image's: what differs from Debian's tree.
func bake(ctx context.Context, dir, base string) error {
	root, work := filepath.Join(dir, "root"), filepath.Join(dir, "work")
	for _, made := range []string{root, work, imageLayer(dir)} {
		if err := os.Mkdir(made, 0o755); err != nil {
			return err
		}
	}
	config := filepath.Join(dir, "scratch", "image.yaml")
	if err := os.WriteFile(config, []byte(imageYAML), 0o644); err != nil {
		return err
	}
	script := strings.Join([]string{
		"set -e",
		"mount -t overlay overlay -o lowerdir=" + base + ",upperdir=" + imageLayer(dir) + ",workdir=" + work + " " + root,
		"mount -t proc proc " + root + "/proc",
		"mount -t tmpfs tmpfs " + root + "/run",
		"mount -t tmpfs tmpfs " + root + "/tmp",
		"mkdir " + root + "/tmp/run",
		"mount --bind " + dir + " " + root + "/tmp/run",
		"install -D -m 0644 " + config + " " + root + "/etc/rekindle/10-image.yaml",
		"exec chroot " + root + " sh -c '" + provision + "'",
	}, "\n")
	// Its mounts end with it.
	chroot := exec.CommandContext(ctx, "unshare", "--mount", "--propagation", "private", "sh", "-c", script)
	if out, err := chroot.CombinedOutput(); err != nil {
		return fmt.Errorf("bake: %w\n%s", err, out)
	}
	return nil
}
