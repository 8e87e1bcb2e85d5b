// Command held takes the place of the agent where a test needs its socket or its death: `held serve` answers on the
// socket "api" that systemd passed, `held hang` says that it is ready and then nothing, and `held ask ADDRESS COUNT` is
// the client: so many connections one after the other, each of which must be answered.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"rekindle/agent/apiproxy"
	"rekindle/agent/host"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "held:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 1 && args[0] == "hang":
		if err := host.Notify(host.Ready); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx)
	case len(args) == 3 && args[0] == "ask":
		count, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return ask(args[1], count)
	}
	return fmt.Errorf("usage: held serve | hang | ask ADDRESS COUNT")
}

// serve says its PID to everybody who connects.
func serve(ctx context.Context) error {
	listeners, err := apiproxy.Listeners(ctx, "api")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listeners[0].Close() })
	if err := host.Notify(host.Ready); err != nil {
		return err
	}
	for {
		conn, err := listeners[0].Accept()
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(conn, os.Getpid()) // a client that is gone misses it
		_ = conn.Close()
	}
}

// ask prints who answered, in order and each once.
func ask(address string, count int) error {
	last := ""
	for i := range count {
		conn, err := net.DialTimeout("tcp", address, time.Minute)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return err
		}
		answer, err := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil || len(answer) == 0 {
			return fmt.Errorf("connection %d: answered with %q: %w", i, answer, err)
		}
		if string(answer) != last {
			last = string(answer)
			fmt.Print(last)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}
