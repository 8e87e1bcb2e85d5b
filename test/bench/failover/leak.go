package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	openers = 32   // connections at a time
	first   = 2000 // connections before the first count, so that pools and the heap have their size
)

// holding is what this process has, client and proxy.
type holding struct{ descriptors, goroutines, memory int } // memory in bytes

// measureLeak opens and closes connections through a proxy in this process, and prints what is left of them.
func measureLeak(ctx context.Context, r *report, connections int, log *slog.Logger) (err error) {
	if connections == 0 {
		return nil
	}
	m := &master{name: "leak", address: anyPort, order: order{Bulk: true}}
	defer func() { err = errors.Join(err, m.remove()) }()
	if err := m.start(ctx); err != nil {
		return err
	}
	p, err := startProxy(ctx, nil, []*master{m}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := p.carry(ctx, first); err != nil {
		return err
	}
	before, err := p.holds(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := p.carry(ctx, connections); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := p.holds(ctx)
	if err != nil {
		return err
	}
	r.line("proxy_leak_descriptors", float64(after.descriptors-before.descriptors), "", fmt.Sprintf("%d connections in %.1f s, %.0f us each",
		connections, took.Seconds(), took.Seconds()/float64(connections)*1e6))
	r.line("proxy_leak_goroutines", float64(after.goroutines-before.goroutines), "", fmt.Sprintf("%d before", before.goroutines))
	r.line("proxy_leak_mb", float64(after.memory-before.memory)/1e6, "MB", fmt.Sprintf("resident, %.1f before", float64(before.memory)/1e6))
	return nil
}

// carry opens n connections, asks something over each, and ends them in three ways: closed, reset, or half closed first.
func (p *proxy) carry(ctx context.Context, n int) error {
	var group sync.WaitGroup
	var next, failed atomic.Int64
	for opener := range openers {
		group.Go(func() {
			// An address of its own, as one has only 28,000 ports, which rest for a minute after use.
			from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(opener+1))}}
			for i := next.Add(1); i <= int64(n) && ctx.Err() == nil; i = next.Add(1) {
				if err := p.once(ctx, from, i); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if failed := failed.Load(); failed > 0 {
		return fmt.Errorf("%d of %d connections were not carried", failed, n)
	}
	return ctx.Err()
}

func (p *proxy) once(ctx context.Context, from *net.Dialer, number int64) error {
	conn, err := from.DialContext(ctx, "tcp", p.at)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer := make([]byte, 8)
	if err := fetch(conn, len(answer), answer); err != nil {
		return err
	}
	switch number % 3 {
	case 0:
		return conn.(*net.TCPConn).SetLinger(0)
	case 1:
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		if _, err := conn.Read(answer); !errors.Is(err, io.EOF) {
			return fmt.Errorf("the end did not come: %w", err)
		}
	}
	return nil
}

// holds waits until the proxy has no connection, and counts.
func (p *proxy) holds(ctx context.Context) (h holding, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, settle, errors.New("connections did not end"))
	defer cancel()
	for p.Status().Open > 0 {
		if await(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return h, context.Cause(ctx)
		}
	}
	runtime.GC()
	runtime.GC() // of what the first one took from pools
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return h, err
	}
	stat, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return h, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(stat))[1])
	return holding{len(files), runtime.NumGoroutine(), pages * os.Getpagesize()}, err
}
