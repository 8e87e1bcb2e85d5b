// Package qemu runs a disk as a machine, emulated: no KVM is asked for, so it runs wherever QEMU does. A machine's power can
// be cut, and its state be kept and taken up again as often as wanted.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options say what machine this is. Dir, Disk, Tap and MAC are required.
type Options struct {
	Name   string // for people
	Dir    string // absolute, exists; gets the log of the console and QEMU's sockets
	Disk   string // qcow2; written to
	Tap    string // of this network namespace, persistent
	MAC    string
	Memory int // MiB
	// EC2 has the firmware say what EC2's says. cloud-init looks for that, and keeps still where it does not find it.
	EC2 bool
	// Kernel and Initrd, files, spare the firmware's work and the boot loader's; Append is the kernel's command line.
	Kernel, Initrd, Append string
	// State is what Save wrote: the machine goes on from there, when told to. Its disk must be as it was then.
	State string
	// Line is told every line of the console, without colours; a login prompt counts as one. It must not block for long.
	Line func(string)
}

// Machine is running, or was. Its methods may be called from any goroutine.
type Machine struct {
	Options
	cmd    *exec.Cmd
	ended  chan struct{} // closed when QEMU is gone and the console was read to its end
	errors strings.Builder
}

// Console is the file with what the machine has written to its console, in all its boots.
func (o *Options) Console() string { return filepath.Join(o.Dir, "console.log") }

func (o *Options) control() string { return filepath.Join(o.Dir, "qmp") }

func (o *Options) args() []string {
	args := []string{
		"-machine", "q35", "-cpu", "max", "-accel", "tcg,thread=multi", "-smp", "1", "-m", strconv.Itoa(o.Memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		// What the guest has flushed is in the host's page cache, which outlives QEMU; what it has not is in the guest's memory.
		"-drive", "file=" + o.Disk + ",if=virtio,format=qcow2,cache=writeback",
		"-netdev", "tap,id=net,ifname=" + o.Tap + ",script=no,downscript=no",
		"-device", "virtio-net-pci,netdev=net,mac=" + o.MAC + ",romfile=",
		"-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-qmp", "unix:" + o.control() + ",server=on,wait=off",
	}
	if o.EC2 {
		const uuid = "ec2f1a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b" // the serial number is the same
		args = append(args, "-smbios", "type=1,manufacturer=Amazon EC2,product=m5.large,uuid="+uuid+",serial="+uuid)
	}
	if o.Kernel != "" {
		args = append(args, "-kernel", o.Kernel, "-initrd", o.Initrd, "-append", o.Append)
	}
	if o.State != "" {
		args = append(args, "-incoming", "exec:cat "+o.State)
	}
	return args
}

// Start turns the machine on.
func Start(o Options) (*Machine, error) {
	if o.Memory == 0 {
		o.Memory = 1024
	}
	if o.Line == nil {
		o.Line = func(string) {}
	}
	log, err := os.OpenFile(o.Console(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("vm %s: %w", o.Name, err)
	}
	m := &Machine{Options: o, ended: make(chan struct{})}
	m.cmd = exec.Command("qemu-system-x86_64", o.args()...)
	m.cmd.Stderr = &m.errors
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	console, err := m.cmd.StdoutPipe()
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("vm %s: %w", o.Name, err), log.Close())
	}
	go func() {
		defer close(m.ended)
		defer log.Close()
		listen(io.TeeReader(console, log), o.Line)
		_ = m.cmd.Wait() // how it ended is in its ProcessState
	}()
	return m, nil
}

// Resume lets a machine go on that was started with a state: it has stopped where Save stopped it.
func (m *Machine) Resume(ctx context.Context) error {
	control, err := m.dial(ctx)
	if err != nil {
		return err
	}
	defer control.Close()
	for {
		var run struct{ Status string }
		if err := control.ask("query-status", nil, &run); err != nil {
			return fmt.Errorf("vm %s: resume: %w", m.Name, err)
		}
		if run.Status != "inmigrate" {
			break
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("vm %s: resume: %w", m.Name, context.Cause(ctx))
		}
	}
	if err := control.do("cont", nil); err != nil {
		return fmt.Errorf("vm %s: resume: %w", m.Name, err)
	}
	return nil
}

// Cut takes the machine's power. It returns when nothing of it runs any more.
func (m *Machine) Cut() {
	_ = m.cmd.Process.Kill() // it may have ended already
	<-m.ended
}

// Kill is Cut that waits for nothing: what the machine sends afterwards is sent by nobody.
func (m *Machine) Kill() { _ = m.cmd.Process.Kill() }

// Used is the processor's time that the machine took, once it is off.
func (m *Machine) Used() time.Duration {
	return m.cmd.ProcessState.UserTime() + m.cmd.ProcessState.SystemTime()
}

// Ended is closed when the machine is off.
func (m *Machine) Ended() <-chan struct{} { return m.ended }

// Err says how QEMU ended, once it has.
func (m *Machine) Err() error {
	return fmt.Errorf("vm %s: QEMU: %s: %s", m.Name, m.cmd.ProcessState, strings.TrimSpace(m.errors.String()))
}

// PowerOff presses the machine's button and waits until it is off.
func (m *Machine) PowerOff(ctx context.Context) error {
	control, err := m.dial(ctx)
	if err != nil {
		return err
	}
	defer control.Close()
	if err := control.do("system_powerdown", nil); err != nil {
		return fmt.Errorf("vm %s: %w", m.Name, err)
	}
	select {
	case <-m.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("vm %s does not shut down: %w", m.Name, context.Cause(ctx))
	}
}

// Save stops the machine, writes its state to a file, and ends it. Its disk is then as it was at that moment.
func (m *Machine) Save(ctx context.Context, path string) error {
	control, err := m.dial(ctx)
	if err != nil {
		return err
	}
	defer control.Close()
	for _, step := range []struct {
		command   string
		arguments any
	}{
		{"stop", nil},
		{"migrate-set-parameters", map[string]any{"max-bandwidth": int64(1) << 40}},
		{"migrate", map[string]any{"uri": "exec:cat >" + path}},
	} {
		if err := control.do(step.command, step.arguments); err != nil {
			return fmt.Errorf("vm %s: save: %w", m.Name, err)
		}
	}
	for {
		var migration struct{ Status string }
		if err := control.ask("query-migrate", nil, &migration); err != nil {
			return fmt.Errorf("vm %s: save: %w", m.Name, err)
		}
		switch migration.Status {
		case "completed":
			m.Cut()
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("vm %s: save: %s", m.Name, migration.Status)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("vm %s: save: %w", m.Name, context.Cause(ctx))
		}
	}
}
