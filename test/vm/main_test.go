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
	"syscall"
	"testing"
)

var (
	cacheDir = flag.String("cache", "../../out/image", "where Debian's packages are kept between builds")
	binary   = flag.String("binary", "../../bin/rekindle", "the agent")
	outDir   = flag.String("out", "../../out/vm", "gets the results")
	disk     = flag.String("disk", "", "a disk that test/image made with --cloud-init --layer vm/image.yaml; default: make one")
	most     = flag.Int("cuts", 5, "power cuts in the first boot, and as many in a restore: at most 10")
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
	} else if image, err = filepath.Abs(*disk); err == nil {
		err = os.Symlink(image, filepath.Join(dir, "image.raw"))
	}
	if err == nil {
		err = unpack(image, dir)
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

// unpack copies /boot of the image, whose file system begins where test/image/base.sh has it begin.
func unpack(image, to string) error {
	out, err := exec.CommandContext(context.Background(), "debugfs", "-R", "rdump /boot "+to, image+"?offset=1048576").CombinedOutput()
	if err != nil {
		return fmt.Errorf("debugfs: %w\n%s", err, out)
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
