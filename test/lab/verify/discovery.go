package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"rekindle/agent/status"
	"rekindle/test/lab/node"
)

// discovery wants every node to know every other one, and the masters that live by the cluster's name; and has each node that has a
// proxy reach an API server through it, as its kubelet does.
func (s *Suite) discovery(ctx context.Context) (string, error) {
	var masters []string
	for _, server := range s.apiServers() {
		host, _, err := net.SplitHostPort(server)
		if err != nil {
			return "", err
		}
		masters = append(masters, host)
	}
	slices.Sort(masters)
	var errs []error
	nodes, through := s.Region.Nodes(), 0
	for _, n := range nodes {
		d, err := s.known(ctx, n, len(nodes), masters)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.ID, err))
			continue
		}
		if d.Proxy == nil {
			continue
		}
		c, err := readClient(n, "/etc/kubernetes/kubelet.conf")
		if err != nil {
			return "", err
		}
		if got, err := c.whoAmI(ctx, d.Proxy.Listen); err != nil || got != users(n, s.plans[n.ID])["/etc/kubernetes/kubelet.conf"] {
			errs = append(errs, fmt.Errorf("%s: through its proxy %s it is %q: %w", n.ID, d.Proxy.Listen, got, err))
			continue
		}
		through++
	}
	return fmt.Sprintf("%d nodes know each other by gossip; api.internal is %d masters, and %d nodes reach them through their own proxy",
		len(nodes), len(masters), through), errors.Join(errs...)
}

// known is what a node says of the others, once that is right: gossip takes seconds to call the dead dead.
func (s *Suite) known(ctx context.Context, n *node.Node, nodes int, masters []string) (*status.Discovery, error) {
	for {
		d, err := s.knows(n, nodes, masters)
		if err == nil {
			return d, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *Suite) knows(n *node.Node, nodes int, masters []string) (*status.Discovery, error) {
	now, err := status.Read(n.Path("/run/rekindle/status.json"))
	if err != nil {
		return nil, err
	}
	d := now.Discovery
	if d == nil || d.Mode != "gossip" || d.Nodes != nodes || d.Masters != len(masters) {
		return nil, fmt.Errorf("it knows %+v, there are %d nodes, %d of them masters", d, nodes, len(masters))
	}
	hosts, err := os.ReadFile(n.Path("/etc/hosts"))
	if err != nil {
		return nil, err
	}
	name := "api.internal." + now.Identity.Cluster
	want := masters
	if d.Proxy != nil {
		host, _, err := net.SplitHostPort(d.Proxy.Listen)
		if err != nil {
			return nil, err
		}
		want = []string{host}
	}
	got := addressesOf(hosts, name)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return nil, fmt.Errorf("/etc/hosts: %s is %v, not %v", name, got, want)
	}
	return d, nil
}

// addressesOf are those that a hosts file has for a name.
func addressesOf(hosts []byte, name string) (addresses []string) {
	for line := range bytes.Lines(hosts) {
		if fields := bytes.Fields(line); len(fields) == 2 && string(fields[1]) == name {
			addresses = append(addresses, string(fields[0]))
		}
	}
	return addresses
}

// Place is where a node says who the masters are.
type Place struct {
	Name    string
	Masters []string // their addresses, in order
}

// Places are all of a node's, which has a proxy at its own address: its block in /etc/hosts, the file for the pods' DNS, and
// what `rekindle status --peers` shows.
func Places(n *node.Node, cluster, own string) ([]Place, error) {
	const pods = "/run/rekindle/hosts"
	hosts, err := os.ReadFile(n.Path("/etc/hosts"))
	if err != nil {
		return nil, err
	}
	_, hosts, _ = bytes.Cut(hosts, []byte("# BEGIN rekindle names\n"))
	hosts, _, _ = bytes.Cut(hosts, []byte("# END rekindle names\n"))
	block := Place{Name: "/etc/hosts"}
	for line := range bytes.Lines(hosts) {
		if address, _, _ := strings.Cut(string(line), " "); address != own { // api.internal is the proxy
			block.Masters = append(block.Masters, address)
		}
	}
	names, err := os.ReadFile(n.Path(pods))
	if err != nil {
		return nil, err
	}
	peers, err := status.ReadPeers(n.Path("/run/rekindle/peers.json"))
	if err != nil {
		return nil, err
	}
	shown := Place{Name: "status --peers"}
	for _, p := range peers.Filter([]string{"master"}, []string{"alive", "suspect"}).Peers {
		shown.Masters = append(shown.Masters, p.Addresses[0])
	}
	places := []Place{block, {pods, addressesOf(names, "api.internal."+cluster)}, shown}
	for i := range places {
		slices.Sort(places[i].Masters)
	}
	return places, nil
}
