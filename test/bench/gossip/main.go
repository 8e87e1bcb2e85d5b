// Command gossip measures membership with 100 and 1,000 nodes: how long a join storm takes, how soon every node knows a new
// master and that another one was killed, and what an idle node sends, keeps and computes.
//
// All nodes are real ones (agent/discovery/gossip) in this process, on a network in memory whose packets take 0.25 to 1.25
// ms. They run in a bubble of testing/synctest, where time passes only while nobody computes: seconds are those of the
// protocol, whatever the machine. Bytes are those sent and received, with the headers of IPv4, UDP and TCP. Numbers are
// printed as "name value unit", then how they grow with the nodes. It exits with 1 when a cluster of up to 1,000 nodes
// misses a target: every node knows a new master within 5 s, and an idle one sends and receives at most 3 KB/s.
//
// In a storm of n nodes each of them hears about each other one a dozen times, which takes four minutes of CPU for 1,000
// nodes. So larger clusters than --storms begin without one: nodes have what the others know from these, and not from the
// news, which is lost until nobody has any. With --storm-only the storm is all that is measured.
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
	nodes := flags.IntSlice("nodes", []int{100, 1000}, "nodes of each cluster")
	storms := flags.Int("storms", 300, "nodes of the largest cluster that begins with a storm of joins")
	stormOnly := flags.Bool("storm-only", false, "end each cluster after its storm")
	// A node exchanges full states once in as many seconds as there are nodes, at any moment of those.
	idle := flags.Duration("idle", 2*time.Minute, "how long to look at idle nodes")
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
		s := &sample{nodes: n, stormy: n <= *storms || *stormOnly, stormOnly: *stormOnly, verbose: *verbose}
		if err := bubble(func() error { return s.measure(*idle) }); err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
		report(os.Stdout, s)
		samples = append(samples, s)
	}
	growth(os.Stdout, samples)
	var missed []error
	for _, s := range samples {
		missed = append(missed, s.check())
	}
	return errors.Join(missed...)
}
