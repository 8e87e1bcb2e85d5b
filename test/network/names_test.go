//go:build network

package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"rekindle/agent/status"
	"rekindle/test/lab/node"
	"rekindle/test/lab/verify"
)

// namesRight is what is wrong with whom any node of the cluster knows.
func (c *Cluster) namesRight() error { return c.namesRightOn(c.Nodes()...) }

// namesRightOn is namesRight of some nodes: all nodes that run are alive to them, and nobody else is; the masters that run are
// the API's name in the file for the pods, and no other address is in any of the node's names.
func (c *Cluster) namesRightOn(nodes ...*node.Node) error {
	all := c.Nodes()
	var wantAll []string
	for _, n := range all {
		wantAll = append(wantAll, n.ID)
	}
	slices.Sort(wantAll)
	var wantMasters []string
	for _, a := range c.Addresses(c.Members(masters)...) {
		wantMasters = append(wantMasters, a.String())
	}
	slices.Sort(wantMasters)
	var errs []error
	for _, n := range nodes {
		if err := c.namesOf(n, wantAll, wantMasters); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Cluster) namesOf(n *node.Node, wantAll, wantMasters []string) error {
	places, err := verify.Places(n, "demo", "127.0.0.1")
	if err != nil {
		return err
	}
	for _, p := range places {
		if got := slices.Compact(p.Masters); !slices.Equal(got, wantMasters) {
			return fmt.Errorf("%s has the masters %v, not %v", p.Name, got, wantMasters)
		}
	}
	living, err := living(n)
	if err == nil && !slices.Equal(living, wantAll) {
		err = fmt.Errorf("%v are alive to it, not %v", living, wantAll)
	}
	return err
}

// living are the instances that are alive, or suspect, to a node.
func living(n *node.Node) ([]string, error) {
	peers, err := status.ReadPeers(n.Path("/run/rekindle/peers.json"))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, p := range peers.Filter(nil, []string{"alive", "suspect"}).Peers {
		if p.Mode == "gossip" || p.Mode == "self" {
			all = append(all, p.Instance)
		}
	}
	slices.Sort(all)
	return all, nil
}

// knows is an error unless exactly some nodes are alive to each of others.
func knows(who, whom []*node.Node) error {
	want := ids(whom)
	slices.Sort(want)
	for _, n := range who {
		got, err := living(n)
		if err != nil {
			return err
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%v are alive to %s, not %v", got, n.ID, want)
		}
	}
	return nil
}

// podNames are the API servers in the file that pods' DNS serves.
func podNames(n *node.Node) ([]netip.Addr, error) {
	hosts, err := os.ReadFile(n.Path("/run/rekindle/hosts"))
	return lookup(hosts, apiName), err
}

// keep is an error unless each of some nodes has exactly these API servers for its pods.
func keep(nodes []*node.Node, want []netip.Addr) error {
	for _, n := range nodes {
		got, err := podNames(n)
		if err != nil {
			return err
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%s: /run/rekindle/hosts has %v, not %v", n.ID, got, want)
		}
	}
	return nil
}

// deaths are how often all nodes together have taken another one for dead, or were told that it left, since they started.
func (c *Cluster) deaths(ctx context.Context) int {
	c.t.Helper()
	total := 0
	for _, n := range c.Nodes() {
		died, err := c.metric(ctx, n, `rekindle_gossip_changes_total{event="leave"}`)
		if err != nil {
			c.t.Fatalf("%s: %v", n.ID, err)
		}
		total += int(died)
	}
	return total
}

// metric reads one from a node's agent.
func (c *Cluster) metric(ctx context.Context, n *node.Node, name string) (float64, error) {
	h := c.Host(n.ID)
	get := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:3989/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := get.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}
