// Command failover measures what a minion's clients notice when a master goes away, and what the API proxy costs:
//
//   - failover_reset_ms_p99: a master's process is killed, so that its connections end;
//   - failover_blackhole_ms_p99: a master's machine falls silent, and nothing tells;
//   - proxy_throughput_ratio: bulk data over TLS through the proxy against a direct connection, and
//     proxy_throughput_tcp_ratio the same without TLS: a direct connection keeps two processors busy, so with only two
//     the proxy takes its time from both ends;
//   - proxy_added_latency_us_p50: what a small question and its answer take longer.
//
// The three masters are HTTPS servers in processes of their own, which this program starts of itself as "master"; for
// the black hole each has a network namespace and a veth pair, which takes root. Proxy and clients are in this process.
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
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

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
	if len(args) > 0 && args[0] == "master" {
		return serve(ctx)
	}
	flags := pflag.NewFlagSet("failover", pflag.ContinueOnError)
	resets := flags.Int("resets", 6, "masters that are killed")
	holes := flags.Int("holes", 5, "masters that fall silent; 0 needs no root")
	pairs := flags.Int("pairs", 7, "runs of bulk data, each direct and through the proxy")
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
	if err := measureCost(ctx, os.Stdout, *pairs, log); err != nil {
		return fmt.Errorf("cost: %w", err)
	}
	killed, err := measureFailover(ctx, *resets, false, log)
	if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	reportFailover(os.Stdout, "failover_reset", killed)
	silenced, err := measureFailover(ctx, *holes, true, log)
	if err != nil {
		return fmt.Errorf("black hole: %w", err)
	}
	reportFailover(os.Stdout, "failover_blackhole", silenced)
	return nil
}

// clientGoPause is how long client-go waits before it repeats a GET whose connection broke (rest/with_retry.go).
const clientGoPause = time.Second

func reportFailover(w io.Writer, name string, all []request) {
	if len(all) == 0 {
		return
	}
	quantile := func(q float64, of func(request) time.Duration) float64 {
		var each []time.Duration
		for _, r := range all {
			each = append(each, of(r))
		}
		slices.Sort(each)
		return float64(each[min(len(each)-1, int(q*float64(len(each))))].Microseconds()) / 1000
	}
	took := func(r request) time.Duration { return r.took }
	line(w, name+"_ms_p99", quantile(0.99, took), "ms", fmt.Sprintf("p50 %.2f  max %.2f  requests %d",
		quantile(0.5, took), quantile(1, took), len(all)))
	line(w, name+"_client_go_ms_p99", quantile(0.99, func(r request) time.Duration {
		return r.took + time.Duration(r.again)*clientGoPause
	}), "ms", "")
}

func line(w io.Writer, name string, value float64, unit, more string) {
	fmt.Fprintf(w, "%-36s %9.3f %-6s %s\n", name, value, unit, more)
}
