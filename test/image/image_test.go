//go:build image

// The image as a whole, with real tools: it needs root, loop devices, debootstrap, extlinux and QEMU, and takes minutes:
// go test -tags image -timeout 30m ./image.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rekindle/agent/bake"
)

var (
	cacheDir = flag.String("cache", "../../out/image", "where Debian's packages are kept between builds")
	binary   = flag.String("binary", "../../bin/rekindle", "the agent")
)

// made is the image with stand-ins, and where it is mounted, read-only.
func made(t *testing.T) (disk, root string) {
	t.Helper()
	disk = filepath.Join(t.TempDir(), "rekindle.img")
	o := options{Out: disk, Cache: *cacheDir, Binary: *binary, Repository: "../..", Roles: "master,minion"}
	if err := build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return disk, mounted(t, disk)
}

func mounted(t *testing.T, disk string) string {
	t.Helper()
	root := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop,ro,noload,offset=1048576", disk, root).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", root).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return root
}

// The image passes its own check from outside, holds what it says it does, and what the record of its assets says of
// inodes and times is true of the disk: so the machine that boots it finds everything in place.
func TestImage(t *testing.T) {
	disk, root := made(t)
	found, err := bake.Check(root, nil)
	if err != nil || len(found) > 0 {
		t.Fatalf("%v %v", found, err)
	}
	if info, err := os.Stat(root); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("/ is %v, %v: no user but root would get anywhere", info.Mode(), err)
	}
	if id, err := os.ReadFile(root + "/etc/machine-id"); err != nil || len(id) > 0 {
		t.Errorf("machine-id: %q %v", id, err)
	}
	for _, pattern := range []string{"/etc/ssh/ssh_host_*", "/tmp/*", "/var/log/*.log", "/run/*", "/var/lib/apt/lists/*"} {
		if left, _ := filepath.Glob(root + pattern); len(left) > 0 {
			t.Errorf("the image holds %v", left)
		}
	}
	if link, err := os.Readlink(root + "/etc/systemd/system/multi-user.target.wants/rekindle.service"); err != nil {
		t.Errorf("the unit is not enabled: %q %v", link, err)
	}
	var record struct {
		Assets map[string]struct {
			Stamp   stamp
			Entries map[string]struct{ Stamp stamp }
		}
	}
	data, err := os.ReadFile(root + "/var/lib/rekindle/applied.json")
	if err == nil {
		err = json.Unmarshal(data, &record)
	}
	if err != nil || len(record.Assets) < 5 {
		t.Fatalf("%d assets: %v", len(record.Assets), err)
	}
	for p, asset := range record.Assets {
		if asset.Entries == nil {
			asset.Stamp.compare(t, root+p)
		}
		for name, entry := range asset.Entries {
			if entry.Stamp != (stamp{}) {
				entry.Stamp.compare(t, filepath.Join(root+p, name))
			}
		}
	}
	boots(t, disk)
}

// boots waits until the machine has started the agent and offers a login. It has no metadata service, and says so.
func boots(t *testing.T, disk string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	vm := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-accel", "tcg,thread=multi", "-m", "1024",
		"-smp", "2", "-drive", "file="+disk+",if=virtio,format=raw,snapshot=on", "-nic", "user,restrict=on,model=virtio-net-pci", "-display", "none",
		"-monitor", "none", "-serial", "stdio", "-no-reboot")
	console, err := vm.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := vm.Start(); err != nil {
		t.Fatal(err)
	}
	wanted := []*regexp.Regexp{
		regexp.MustCompile(`Initializing machine ID`),
		regexp.MustCompile(`Start(ing|ed).*rekindle\.service`),
		regexp.MustCompile(`localhost login:`),
	}
	var log strings.Builder
	words := bufio.NewReader(io.TeeReader(console, &log))
	line := ""
	for len(wanted) > 0 {
		c, err := words.ReadByte() // a login prompt ends no line
		if err != nil {
			break
		}
		if line += string(c); c == '\n' {
			agent := strings.Contains(line, "rekindle: FAILED") // may have given up already
			if strings.Contains(line, "FAILED") && !agent || strings.Contains(line, "Dependency failed") {
				t.Errorf("%6.1f s: %s", time.Since(start).Seconds(), strings.TrimSpace(line))
			}
			line = ""
		}
		for i, pattern := range wanted {
			if pattern.MatchString(line) {
				t.Logf("%6.1f s: %s", time.Since(start).Seconds(), strings.TrimSpace(line))
				wanted = append(wanted[:i], wanted[i+1:]...)
				break
			}
		}
	}
	cancel()
	_ = vm.Wait() // it was killed
	if len(wanted) > 0 {
		t.Errorf("the console never said %v; its end:\n%s", wanted, log.String()[max(0, log.Len()-3000):])
	}
}
