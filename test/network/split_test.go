//go:build network

package network

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"rekindle/agent/status"
	"rekindle/test/lab/node"
	"rekindle/test/vpc"
)

// How long a split lasts until no part of it is left in memberlist: GossipToTheDeadTime of agent/discovery/gossip/config.go, and
// then a round of probes, of a second for each node, twice to be sure.
const (
	toTheDead  = time.Minute
	probeRound = time.Second
	// splitLimit is how long a side may take to find the other one dead. Two nodes that lose five at once have few probes to spend
	// on them, and probe ever more slowly the more of these fail.
	splitLimit = time.Minute
	// seedLimit is how long it may take to read the seeds: it is noticed within 5 s that they are needed, and name servers, of which
	// there are none here, have 2 s for each of two questions.
	seedLimit = 20 * time.Second
	// healLimit is how long the halves may take to be one again: nodes look for the missing every 15 to 45 s, and tell the others
	// whom they found.
	healLimit = time.Minute
)

// The masters and half of the minions are cut off from the other minions until each side has taken the other for dead, and
// memberlist has forgotten it. What makes them one again are the agents' own rounds (agent/discovery/gossip/heal.go): an hour
// would pass no other of its limits but that dead nodes are shown for 10 minutes only.
func TestLongSplit(t *testing.T) {
	on(t, Shape{Masters: 3, Minions: 4}, func(ctx context.Context, c *Cluster) {
		all, servers := c.Members(minions), c.Members(masters)
		cut, rest := all[:2], append(slices.Clone(servers), all[2:]...)
		names := c.Addresses(servers...)
		c.count(all...)
		begun := time.Now()
		c.VPC().Between(c.Addresses(cut...), c.Addresses(rest...), vpc.Link{Cut: true})
		c.Within(ctx, splitLimit, "each side knows itself alone", func() error {
			return errors.Join(knows(cut, cut), knows(rest, rest))
		})
		t.Logf("measured: each side has taken the other one for dead after %s", since(begun))
		// Without a master that lives, those that announced themselves in the store are asked for, which nobody took away.
		kept := func() error { return errors.Join(keep(c.Nodes(), names), knows(cut, cut), knows(rest, rest)) }
		c.Within(ctx, seedLimit, "those that are cut off have the masters' names from the store", kept)
		end := latestDeath(t, c.Nodes()).Add(toTheDead + 2*probeRound*time.Duration(len(c.Nodes())))
		c.Throughout(ctx, time.Until(end), 0, "the split", kept)
		t.Logf("measured: the split lasted %s", since(begun))
		c.undisturbed("split", all[2:]...)
		mended := time.Now()
		c.VPC().Mend()
		limited, cancel := context.WithTimeout(ctx, rejectLimit)
		defer cancel()
		c.answered(limited, cut...)
		t.Logf("measured: those that were cut off are answered again after %s", since(mended))
		c.Within(ctx, healLimit, "all know each other again", c.namesRight)
		t.Logf("measured: all know each other again after %s", since(mended))
		c.Generation(ctx, 1)
	})
}

// latestDeath is when the last of some nodes took another one for dead.
func latestDeath(t *testing.T, nodes []*node.Node) (latest time.Time) {
	t.Helper()
	for _, n := range nodes {
		peers, err := status.ReadPeers(n.Path("/run/rekindle/peers.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range peers.Filter(nil, []string{"dead"}).Peers {
			if p.Since.After(latest) {
				latest = p.Since
			}
		}
	}
	return latest
}
