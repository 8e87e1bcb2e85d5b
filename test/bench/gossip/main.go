// Command gossip measures membership with 100, 300 and 1,000 nodes: how long a join storm takes, how soon every node knows
// a new master and that another one was killed, and what an idle node sends, keeps and computes.
//
// All nodes are real ones (agent/discovery/gossip) in this process, on a network in memory whose packets take 0.25 to 0.75
// ms. They run in a bubble of testing/synctest, where time passes only while nobody computes: seconds are those of the
// protocol, whatever the machine. Bytes are those sent and received, with the headers of IPv4, UDP and TCP. Numbers are
// printed as "name value unit", then how they grow with the nodes.
//
// In a storm of n nodes each of them hears about each other one a dozen times. 1,000 nodes take about five minutes of CPU
// for that, and 3,000 (--nodes 3000) nine times as many.
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
)

func main() {
	bubbles(func(bubble func(func() error) error) error { return run(bubble, os.Args[1:]) })
}

func run(bubble func(func() error) error, args []string) error {
	flags := pflag.NewFlagSet("gossip", pflag.ContinueOnError)
	nodes := flags.IntSlice("nodes", []int{100, 300, 1000}, "nodes of each cluster")
	idle := flags.Duration("idle", 0, "how long to look at idle nodes; 0: 1.5 s a node, and at least 3 minutes")
	verbose := flags.BoolP("verbose", "v", false, "tell what is going on")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return err
	}
	var samples []*sample
	for _, n := range *nodes {
		if n < 10 {
			return fmt.Errorf("%d nodes: at least 10", n)
		}
		window := *idle
		if window == 0 {
			// A node exchanges full states once in as many seconds as there are nodes, give or take a half.
			window = max(3*time.Minute, time.Duration(n)*1500*time.Millisecond)
		}
		s := &sample{nodes: n, verbose: *verbose}
		if err := bubble(func() error { return s.measure(window) }); err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
		report(os.Stdout, s)
		samples = append(samples, s)
	}
	growth(os.Stdout, samples)
	return nil
}
