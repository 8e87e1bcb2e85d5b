//go:build image

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rekindle/agent/bake"
)

// Debian's Packer builds the same image over SSH in a machine of its own, emulated. What its disk holds after the machine
// was shut down passes the check: whoever writes on the way down would be found here. It says how long it took.
func TestPacker(t *testing.T) {
	work := t.TempDir()
	sh := func(script string) {
		t.Helper()
		c := exec.Command("sh", "-ec", script)
		c.Dir = work
		c.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TMPDIR="+work)
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Run(); err != nil {
			t.Fatalf("%s: %v", script, err)
		}
	}
	sh("ssh-keygen -q -t ed25519 -N '' -f id")
	o := options{Out: work + "/none.img", Cache: *cacheDir, Binary: *binary, Repository: "../..", Roles: "minion", Key: work + "/id.pub", Only: "upload"}
	if err := build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	cache, err := filepath.Abs(*cacheDir)
	if err != nil {
		t.Fatal(err)
	}
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sh("mkdir -p packer bin out/image; " + repository + "/packer/readable.sh packer; mv id out/image; ln -s " + cache + "/base.img out/image/base.img; " +
		"cp " + cache + "/upload/rekindle bin; cp -r " + cache + "/upload/systemd systemd; cp -r " + cache + "/upload/store out/image")
	start := time.Now()
	sh("packer build -color=false -only=rekindle.qemu.debian -var version=v1 -var kubernetes_version=1.37.2 -var 'roles=[\"minion\"]' " +
		"-var accelerator=tcg -var install_packages=false -var import_images=false packer")
	t.Logf("packer build: %s", time.Since(start).Round(time.Second))
	sh("qemu-img convert -O raw out/image/packer/rekindle.qcow2 disk.raw")
	found, err := bake.Check(mounted(t, work+"/disk.raw"), nil)
	if err != nil || len(found) > 0 {
		t.Errorf("%v %v", found, err)
	}
}
