//go:build fleet

// Package fleet runs a cluster on machines of its own, each with a real systemd as PID 1, as instances of Auto Scaling groups,
// and then lets happen to it what happens to clusters. It needs root, systemd-nspawn, debootstrap and /dev/net/tun:
//
//	cd test && go test -tags fleet -count=1 -timeout 30m ./fleet
//
// docs/machines.md says what is shown, and what is not.
package fleet

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

	"golang.org/x/sys/unix"

	"rekindle/test/vpc"
)

var (
	binary = flag.String("binary", "../../bin/rekindle", "the agent")
	outDir = flag.String("out", "../../out/fleet", "gets the results")
	from   = flag.String("image", "", "the directory of a run that was kept: its image is not made again")
	keep   = flag.Bool("keep", false, "keep the directory of the run, with the disks of the machines that were there at its end")
)

// inside names the directory of the run to the process that has the machines.
const inside = "REKINDLE_FLEET_RUN"

// TestMain builds the image, and runs the tests with processes, mounts and a network of their own: when they end, however they
// end, no machine is left.
func TestMain(m *testing.M) {
	flag.Parse()
	for _, path := range []*string{binary, outDir} {
		full, err := filepath.Abs(*path) // the S3 server takes the working directory
		if err != nil {
			panic(err)
		}
		*path = full
	}
	if os.Getenv(inside) == "" {
		code, err := enter()
		if err != nil {
			fmt.Fprintln(os.Stderr, "fleet:", err)
			code = 1
		}
		os.Exit(code)
	}
	vpc.Isolate()
	err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""), // that of the namespace of processes
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func enter() (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("needs root, for machines and namespaces")
	}
	dir, err := prepare(context.Background())
	if dir != "" && *keep {
		fmt.Println("the run is in", dir)
	} else if dir != "" {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if err != nil {
		return 1, err
	}
	tests := exec.Command("/proc/self/exe", os.Args[1:]...)
	tests.Env = append(os.Environ(), inside+"="+dir)
	tests.Stdout, tests.Stderr = os.Stdout, os.Stderr
	vpc.Apart(tests)
	tests.SysProcAttr.Cloneflags |= syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
	err = tests.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		code, err = max(ended.ExitCode(), 1), nil
	}
	return code, errors.Join(err, left(dir))
}

// prepare makes the directory of the run, with the image.
func prepare(ctx context.Context) (dir string, err error) {
	if err := os.MkdirAll(*outDir, 0o755); err != nil {
		return "", err
	}
	older, err := filepath.Glob(filepath.Join(*outDir, "i-*.log"))
	for _, path := range older {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return "", err
	}
	if *from != "" {
		return *from, errors.Join(os.RemoveAll(filepath.Join(*from, "s3")), os.RemoveAll(filepath.Join(*from, "machines")))
	}
	if dir, err = os.MkdirTemp("/var/tmp", "rekindle-fleet-"); err != nil {
		return "", err
	}
	return dir, makeImage(ctx, dir)
}

// left is an error if something of the run is still on this machine.
func left(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	if strings.Contains(string(mounts), dir) {
		errs = append(errs, errors.New("a mount is left of the run"))
	}
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		groups, err := filepath.Glob(top + "/machine-i-*")
		if err != nil {
			return err
		}
		for _, group := range groups {
			errs = append(errs, fmt.Errorf("%s is left of the run", group))
		}
	}
	return errors.Join(errs...)
}
