package nspawn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// installed is what every base has, beside what debootstrap calls minimal.
var installed = []string{"systemd", "systemd-sysv", "dbus", "ca-certificates", "iproute2", "procps", "netbase", "cloud-init", "containerd"}

// Base returns a tree of Debian 12 below dir, with cloud-init and containerd. The first call makes it, which needs the
// network and takes a minute or two.
func Base(ctx context.Context, dir string) (string, error) {
	base := filepath.Join(dir, "bookworm")
	if _, err := os.Stat(base); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return base, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	making, err := os.MkdirTemp(dir, "making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(making)
	first := installed[:7]
	steps := [][]string{
		{"debootstrap", "--variant=minbase", "--include=" + strings.Join(first, ","), "bookworm", making},
		{"cp", "/etc/resolv.conf", filepath.Join(making, "etc/resolv.conf")},
		append([]string{"chroot", making, "apt-get", "install", "-y", "-qq", "--no-install-recommends"}, installed[7:]...),
		{"chroot", making, "apt-get", "clean"},
		{"chmod", "755", making},
	}
	for _, step := range steps {
		cmd := exec.CommandContext(ctx, step[0], step[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("base: %s: %w\n%s", strings.Join(step, " "), err, out)
		}
	}
	// An image has no identity of its own; systemd makes one at the first boot.
	if err := os.WriteFile(filepath.Join(making, "etc/machine-id"), nil, 0o644); err != nil {
		return "", err
	}
	return base, os.Rename(making, base)
}
