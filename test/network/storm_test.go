//go:build network

package network

import (
	"context"
	"testing"
	"time"
)

// What the names may take after 30 % of the nodes were replaced at once. The dead are gone: a quarter of those that others probe
// are dead, too. The new ones are there: they boot, all at once, on a machine that is busy with others.
const (
	stormGone  = 30 * time.Second
	stormLimit = 2 * time.Minute
)

// Of sixteen nodes five are terminated at once, one of them a master, and their groups launch others.
func TestStorm(t *testing.T) {
	on(t, Shape{Masters: 3, Minions: 13}, func(ctx context.Context, c *Cluster) {
		dying := append(c.Members(masters)[:1], c.Members(minions)[:4]...)
		staying := c.Members(minions)[4:]
		gone := c.Addresses(dying...)
		c.count(staying...)
		begun := time.Now()
		c.replace(dying...)
		c.Within(ctx, stormGone, "the dead are nowhere", func() error {
			for _, address := range gone {
				if err := c.nowhere(address); err != nil {
					return err
				}
			}
			return nil
		})
		t.Logf("measured: five of sixteen nodes that were terminated are in no name of anybody after %s", since(begun))
		c.Whole(ctx, stormLimit, 3, 13)
		t.Logf("measured: five others have their places, and every node knows all sixteen, after %s", since(begun))
		if saw := c.saw("storm", staying...); saw.longest > blackHoleLimit || saw.failures > len(staying) {
			t.Errorf("%+v, want no more than %s without an answer, and one failure for each client", saw, blackHoleLimit)
		}
		c.Generation(ctx, 1)
	})
}
