package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// part is a process of this program that ends when its standard input does, so that it cannot outlive this one.
type part struct {
	cmd   *exec.Cmd
	in    io.Closer
	lines *bufio.Reader
}

// start starts this program as one of its parts. Tests are such a program, too: see TestMain.
func start(ctx context.Context, args ...string) (*part, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), "BENCH_BACKUP_PART=yes")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &part{cmd, in, bufio.NewReader(out)}, nil
}

// listens waits for the line that tells the address. What else is said is passed over.
func (p *part) listens() (string, error) {
	for {
		line, err := p.lines.ReadString('\n')
		if err != nil {
			return "", errors.Join(fmt.Errorf("%s: %w", p.cmd.Args[1], err), p.stop())
		}
		if strings.HasPrefix(line, "http://") {
			go func() { _, _ = io.Copy(io.Discard, p.lines) }()
			return strings.TrimSpace(line), nil
		}
	}
}

func (p *part) stop() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

// watchMemory looks at the memory that is not of files every few milliseconds, since the kernel keeps no peak of it.
func watchMemory(ctx context.Context) (peak func() (int64, error)) {
	ctx, stop := context.WithCancel(ctx)
	var most int64
	var failed error
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			now, err := memory("RssAnon:")
			most, failed = max(most, now), errors.Join(failed, err)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() (int64, error) {
		stop()
		watch.Wait()
		return most, failed
	}
}

// memory reads a line of /proc/self/status, in bytes.
func memory(name string) (int64, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status: no %s", name)
}
