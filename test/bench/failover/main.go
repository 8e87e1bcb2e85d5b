// Command failover measures what a minion's clients notice when a master goes away, and what the API proxy costs:
//
//   - failover_reset_ms_p99: a master's process is killed, so that its connections end;
//   - failover_blackhole_ms_p99: a master's machine falls silent, and nothing tells;
//   - proxy_throughput_ratio: bulk data over TLS through the proxy against a direct connection on loopback, and
//     proxy_throughput_tcp_ratio the same without TLS;
//   - proxy_throughput_10gbit_ratio and ..._5gbit_ratio: over TLS too, but from a server behind a line of that rate;
//   - proxy_cpu_seconds_per_gib: processor time of the proxy in those transfers, and beside it that of the two ends and
//     how many processors all of them kept busy. What this machine has no processors for, no proxy can make up;
//   - proxy_added_latency_us_p50: what a small question and its answer take longer;
//   - proxy_leak_...: what is left of connections that ended in all ways: descriptors, goroutines, memory.
//
// Transfers are under Linux's default congestion control, cubic, whatever the machine is set to, if it allows that.
//
// It fails when a number is so far from its target that no busy machine explains it.
//
// For a loss there are three masters: HTTPS servers in processes of their own, which this program starts of itself as
// "serve"; for the black hole each has a network namespace and a veth pair, which takes root. The clients are in this
// process, and so is the proxy, except in transfers.
// The clients have HTTP/2 settings like client-go's and ask every 100 ms, each over its own connection; a request that
// fails is repeated at once. Only those of clients that were connected to the lost master count: the request that was
// under way, and all that began within the seconds after.
//
// Client-go itself waits 1 s before it repeats a GET: failover_..._client_go_ms_p99 adds that to each repetition.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-failover:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "serve" {
		return serve(ctx)
	}
	flags := pflag.NewFlagSet("failover", pflag.ContinueOnError)
	resets := flags.Int("resets", 5, "masters that are killed")
	holes := flags.Int("holes", 4, "masters that fall silent; 0 needs no root, and leaves out the lines of a given rate")
	pairs := flags.Int("pairs", 15, "transfers of bulk data, each direct and through the proxy")
	connections := flags.Int("connections", 20000, "that are opened and closed; 1000000 takes minutes")
	verbose := flags.BoolP("verbose", "v", false, "tell each round, and what the proxy says")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if *verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r := &report{w: os.Stdout}
	if err := measureCost(ctx, r, *pairs, *holes > 0, log); err != nil {
		return fmt.Errorf("cost: %w", err)
	}
	if err := measureLeak(ctx, r, *connections, log); err != nil {
		return fmt.Errorf("leak: %w", err)
	}
	killed, err := measureFailover(ctx, *resets, false, log)
	if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	r.failover("failover_reset", killed)
	silenced, err := measureFailover(ctx, *holes, true, log)
	if err != nil {
		return fmt.Errorf("black hole: %w", err)
	}
	r.failover("failover_blackhole", silenced)
	return r.missed
}
