package vpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// metadata is the address of the instance metadata service.
var metadata = netip.MustParseAddr("169.254.169.254")

// Host is the network of one instance. Close takes it off; its namespace ends with the last process in it.
type Host struct {
	Address netip.Addr
	vpc     *VPC
	port    *port
	space   *os.File
}

// Namespace is a path of the network namespace that nsenter(1) and systemd-nspawn take, as long as this process lives.
func (h *Host) Namespace() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.space.Fd()) }

// Listen announces on an address within the namespace. Who accepts may be anywhere in this process.
func (h *Host) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	err = within(h.space, func() error {
		l, err = new(net.ListenConfig).Listen(ctx, network, address)
		return err
	})
	return l, err
}

// ListenIMDS listens where the instance finds its metadata.
func (h *Host) ListenIMDS(ctx context.Context) (net.Listener, error) {
	return h.Listen(ctx, "tcp", netip.AddrPortFrom(metadata, 80).String())
}

// Dial connects as the instance does. address has no name that needs a lookup.
func (h *Host) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = within(h.space, func() error {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Traffic is what the instance has sent and received so far, in bytes of frames.
func (h *Host) Traffic() (sent, received int64) { return h.port.sent.Load(), h.port.received.Load() }

// Close unplugs the instance.
func (h *Host) Close() error {
	h.vpc.unplug(h.port)
	return errors.Join(h.port.tap.Close(), h.space.Close())
}

// newNamespace makes a network namespace that lives as long as it is open, or in use.
func newNamespace() (space *os.File, err error) {
	err = alone(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("network namespace: %w", err)
		}
		space, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return space, err
}

// within calls do on a thread that is in a network namespace. What do opens stays there.
func within(space *os.File, do func() error) error {
	return alone(func() error {
		if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return do()
	})
}

// alone calls do on a thread that ends with it: nobody else finds the namespace changed.
func alone(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- do()
	}()
	return <-done
}

// isolated is set for a process that Isolate started.
const isolated = "REKINDLE_VPC"

// Isolate has a program go on in a network namespace of its own: a child of this process, whose exit code it exits with. It
// returns in the child. Whoever needs the machine's network does so before, and hands the result on by its environment.
func Isolate() {
	if os.Getenv(isolated) != "" {
		if err := bringUp(); err != nil {
			fmt.Fprintln(os.Stderr, "vpc:", err)
			os.Exit(1)
		}
		return
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	Apart(cmd)
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(max(exit.ExitCode(), 1))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vpc: a network namespace of its own:", err, "(it takes root)")
		os.Exit(1)
	}
	os.Exit(0)
}

// Apart has a command that calls Isolate run in a network namespace of its own. It dies with this process.
func Apart(cmd *exec.Cmd) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, isolated+"=1")
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}

// bringUp has a loopback in a new namespace.
func bringUp() error { return loopback(netip.MustParseAddr("127.0.0.2")) }
