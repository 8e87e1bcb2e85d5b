// Package image lays out what an instance's disk holds before its first boot: a Debian AMI, as far as the agent and its
// units look at one.
package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Options say what is in an image.
type Options struct {
	Standin string            // the binary that takes the place of systemd's helpers
	Files   map[string]string // more files, by path
}

// units are those of Debian that roles start or order themselves by.
var units = map[string]string{
	"systemd-sysctl.service": `[Unit]
Description=Apply Kernel Variables

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/systemd/systemd-sysctl
`,
	"systemd-modules-load.service": `[Unit]
Description=Load Kernel Modules

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/systemd/systemd-modules-load
`,
}

var files = map[string]string{
	"/etc/os-release": `PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
NAME="Debian GNU/Linux"
VERSION_ID="13"
VERSION_CODENAME=trixie
ID=debian
`,
	"/etc/hosts":       "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
	"/etc/resolv.conf": "nameserver 127.0.0.53\noptions edns0 trust-ad\n",
	"/etc/machine-id":  "",
}

// running is what is in /run before the agent starts.
var running = map[string]string{
	// What systemd-resolved learned from DHCP: the address of the VPC's resolver.
	"/run/systemd/resolve/resolv.conf": "nameserver 169.254.169.253\n",
}

// Boot empties what does not outlive a loss of power.
func Boot(root string) error {
	for _, dir := range []string{"/run", "/tmp"} {
		if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
			return fmt.Errorf("image: %w", err)
		}
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	for path, text := range running {
		if err := write(root, path, text); err != nil {
			return err
		}
	}
	return nil
}

var dirs = []string{
	"/etc/systemd/system", "/etc/sysctl.d", "/etc/modules-load.d", "/opt", "/run", "/tmp", "/usr/local/bin",
	"/usr/lib/sysctl.d", "/usr/lib/modules-load.d", "/var/lib", "/var/log",
}

// Make fills root, which is made when missing.
func Make(root string, o Options) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	for name, text := range units {
		if err := write(root, "/usr/lib/systemd/system/"+name, text); err != nil {
			return err
		}
	}
	for _, set := range []map[string]string{files, running, o.Files} {
		for path, text := range set {
			if err := write(root, path, text); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"systemd-sysctl", "systemd-modules-load"} {
		if err := place(o.Standin, filepath.Join(root, "usr/lib/systemd", name)); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	return nil
}

func write(root, path, text string) error {
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}

// place links a program, or copies it to another file system. Nobody writes to it: the agent replaces files.
func place(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	err := os.Link(from, to)
	if err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}
