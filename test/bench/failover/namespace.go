package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// namespace is a network of its own, joined to this one by a veth pair. It has addresses of 198.18.0.0/15, which RFC 2544
// keeps for benchmarks.
type namespace struct {
	name            string
	outside, inside netip.Addr
}

func newNamespace(ctx context.Context, number int) (*namespace, error) {
	network := byte(number)
	n := &namespace{
		name:    fmt.Sprintf("failover-%d-%d", os.Getpid(), number),
		outside: netip.AddrFrom4([4]byte{198, 18, network, 1}), inside: netip.AddrFrom4([4]byte{198, 18, network, 2}),
	}
	veth := fmt.Sprintf("fo%d-%d", os.Getpid()%1e6, number)
	if err := ip(ctx, "netns add "+n.name); err != nil {
		return nil, fmt.Errorf("%w (it takes root; --holes 0 goes without)", err)
	}
	for _, command := range []string{
		"link add " + veth + " type veth peer name eth0 netns " + n.name,
		"addr add " + n.outside.String() + "/24 dev " + veth,
		"link set " + veth + " up",
		"-n " + n.name + " addr add " + n.inside.String() + "/24 dev eth0",
		"-n " + n.name + " link set lo up",
		"-n " + n.name + " link set eth0 up",
	} {
		if err := ip(ctx, command); err != nil {
			return nil, errors.Join(err, n.remove())
		}
	}
	return n, nil
}

// silence has the namespace send nothing any more: no answer, no reset, no ICMP message.
func (n *namespace) silence() error {
	return ip(context.Background(), "-n "+n.name+" route add blackhole "+n.outside.String())
}

func (n *namespace) restore(ctx context.Context) error {
	return ip(ctx, "-n "+n.name+" route del blackhole "+n.outside.String())
}

// limit has the namespace send no faster than a rate of tc, such as 10gbit.
func (n *namespace) limit(ctx context.Context, rate string) error {
	return command(ctx, "tc -n "+n.name+" qdisc add dev eth0 root tbf burst 1mb latency 10ms rate "+rate)
}

// remove removes the namespace, and with it the veth pair.
func (n *namespace) remove() error { return ip(context.Background(), "netns del "+n.name) }

// ip runs the command ip with the given words.
func ip(ctx context.Context, words string) error { return command(ctx, "ip "+words) }

func command(ctx context.Context, line string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	words := strings.Fields(line)
	if out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(string(out)))
	}
	return nil
}
