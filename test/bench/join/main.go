// Command join measures a mass join: how many nodes a second one master signs certificates for, how long a node waits,
// and how much memory the master takes, when 2,000 nodes start at the same moment; and again with 50.
//
// The master is the real server in a process of its own, which this program starts of itself as "serve". The nodes are
// real clients, each with its own address of 127.0.0.0/8, keys, and instance credentials, in this process, and so are STS
// and EC2 (test/cloud), which verify every signature and answer as slowly as the real ones. Machine and number of
// processors are shared by all of them: the master alone is faster than what is printed. Every number is a median of
// runs, each with a new master, printed as "name value unit".
package main

import (
	"context"
	"errors"
	"fmt"
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
		fmt.Fprintln(os.Stderr, "bench-join:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "serve" {
		return serve(ctx)
	}
	flags := pflag.NewFlagSet("join", pflag.ContinueOnError)
	nodes := flags.IntSlice("nodes", []int{2000, 50}, "nodes that join at once, in each set of runs")
	runs := flags.Int("runs", 3, "runs of each set")
	profile := flags.String("cpuprofile", "", "where the last master writes its CPU profile")
	verbose := flags.BoolP("verbose", "v", false, "tell each run, and what the nodes wait for")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return err
	}
	for _, n := range *nodes {
		var samples []sample
		for i := range *runs {
			s, err := massJoin(ctx, n, *profile, *verbose)
			if err != nil {
				return fmt.Errorf("%d nodes, run %d: %w", n, i+1, err)
			}
			if *verbose {
				fmt.Fprintf(os.Stderr, "%d nodes, run %d: %v, %+v\n", n, i+1, s.took, s.master)
			}
			samples = append(samples, s)
		}
		report(os.Stdout, n, samples)
	}
	return nil
}
