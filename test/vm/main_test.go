//go:build vm

// Package vm boots the disk image as instances of a fake EC2: emulated machines on a network of their own, with the metadata
// service, the APIs and S3 that they find there. It needs root, QEMU, dnsmasq and what test/image needs:
//
//	cd test && go test -tags vm -count=1 -timeout 30m ./vm
//
// docs/images.md says what is shown, and what is not.
package vm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var (
	cacheDir = flag.String("cache", "../../out/image", "where Debian's packages are kept between builds")
	binary   = flag.String("binary", "../../bin/rekindle", "the agent")
	outDir   = flag.String("out", "../../out/vm", "gets the results")
	disk     = flag.String("disk", "", "a disk that test/image made with --cloud-init --layer vm/image.yaml; default: make one")
	most     = flag.Int("cuts", 10, "power cuts in the first boot, and as many in a restore: at most 10")
)

// inside names the directory of the run to the process that is in the namespace.
const inside = "REKINDLE_VM_RUN"

// TestMain builds the image, and runs the tests in namespaces of their own: however they end, nothing of their network is
// left, and none of their processes.
func TestMain(m *testing.M) {
	flag.Parse()
	for _, path := range []*string{cacheDir, binary, outDir} {
		*path = absolute(*path) // the S3 server takes the working directory
	}
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	code, err := enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		code = 1
	}
	os.Exit(code)
}

func enter() (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("needs root, for a network namespace and loop devices")
	}
	dir, err := os.MkdirTemp("/var/tmp", "rekindle-vm-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	image := filepath.Join(dir, "image.raw")
	if *disk == "" {
		err = build(image)
	} else {
		err = exec.Command("cp", "--sparse=always", "--reflink=auto", *disk, image).Run()
	}
	if err == nil {
		err = debug(image, "rdump /boot "+dir)
	}
	if err == nil {
		err = addWitness(image, dir)
	}
	if err != nil {
		return 1, err
	}
	tests := exec.Command("/proc/self/exe", os.Args[1:]...)
	tests.Env = append(os.Environ(), inside+"="+dir)
	tests.Stdout, tests.Stderr = os.Stdout, os.Stderr
	tests.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	err = tests.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return ended.ExitCode(), nil
	}
	return 0, err
}

// build makes the image that every machine boots.
func build(to string) error {
	c := exec.CommandContext(context.Background(), "go", "run", "./image", "--cloud-init", "--layer", "vm/image.yaml",
		"--cache", *cacheDir, "--binary", *binary, "--out", to)
	c.Dir = ".."
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("image: %w\n%s", err, out)
	}
	return nil
}

// witness says on the console that the node's target is reached. Systemd itself does not always: from the moment when getty
// has waited long enough for the boot to end, it leaves the console to the login prompt.
const witness = `[Unit]
After=rekindle-ready.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo "rekindle-ready.target is reached; failed units: $$(systemctl list-units --failed --plain --no-legend | tr -s "[:space:]" " ")" >/dev/console'
`

func addWitness(image, dir string) error {
	const unit = "/etc/systemd/system/witness.service"
	file := filepath.Join(dir, "witness.service")
	if err := os.WriteFile(file, []byte(witness), 0o644); err != nil {
		return err
	}
	wants := "/etc/systemd/system/rekindle-ready.target.wants"
	return debug(image, "write "+file+" "+unit, "mkdir "+wants, "symlink "+wants+"/witness.service "+unit)
}

// debug has debugfs do something with the image, whose file system begins where test/image/base.sh has it begin.
func debug(image string, requests ...string) error {
	for _, request := range requests {
		out, err := exec.CommandContext(context.Background(), "debugfs", "-w", "-R", request, image+"?offset=1048576").CombinedOutput()
		command, _, _ := strings.Cut(request, " ")
		if err == nil && strings.Contains(string(out), "\n"+command+": ") { // it exits with 0 in any case
			err = errors.New("debugfs failed")
		}
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", request, err, out)
		}
	}
	return nil
}

func absolute(path string) string {
	full, err := filepath.Abs(path)
	if err != nil {
		panic(err) // there is no working directory
	}
	return full
}
