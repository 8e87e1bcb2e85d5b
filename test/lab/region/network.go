package region

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"rekindle/test/cloud"
	"rekindle/test/vpc"
)

// The ports of the region. Every instance has an address of its own, so its ports are those of a real node.
const (
	apiPort  = 4566
	s3Port   = 7070
	imdsPort = 1338 // 80 needs root
)

// network is the VPC: a /16 of 127.0.0.0/8, or namespaces. Its first addresses are AWS's own, as in every VPC; the APIs are there.
type network struct {
	cidr netip.Prefix
	vpc  *vpc.VPC // nil: every instance has an address of this machine's
}

// privateCIDR is that of a network of namespaces, which nobody else sees.
var privateCIDR = netip.MustParsePrefix("10.61.0.0/16")

// private makes a network of namespaces, as seen from the one that this process is in.
func private(ctx context.Context) (network, net.Listener, error) {
	n := network{cidr: privateCIDR}
	second := n.cidr.Addr().Next().Next()
	made, err := vpc.New(n.cidr, second)
	if err != nil {
		return n, nil, err
	}
	n.vpc = made
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", n.api())
	if err != nil {
		return n, nil, errors.Join(err, made.Close())
	}
	return n, l, nil
}

func (n network) close() error {
	if n.vpc == nil {
		return nil
	}
	return n.vpc.Close()
}

// claim finds a network that no other lab on this machine uses. Who listens on its API port owns it; that is not enough, as
// instances may be left of a lab that was killed.
func claim(ctx context.Context) (network, net.Listener, error) {
	var errs []error
	for second := byte(61); second < 250; second++ {
		n := network{cidr: netip.PrefixFrom(netip.AddrFrom4([4]byte{127, second, 0, 0}), 16)}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", n.address(1, apiPort))
		if err == nil {
			taken, err := n.taken()
			if err == nil && taken == "" {
				return n, l, nil
			}
			if err := errors.Join(err, l.Close()); err != nil {
				return network{}, nil, err
			}
			errs = append(errs, fmt.Errorf("somebody listens on %s", taken))
			continue
		}
		if errs = append(errs, err); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return network{}, nil, fmt.Errorf("no free network in 127.0.0.0/8: %w", errors.Join(errs...))
}

// taken is an address of the network that somebody listens on, beside the API port.
func (n network) taken() (string, error) {
	for _, path := range []string{"/proc/net/tcp", "/proc/net/udp"} {
		table, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		for _, a := range listeners(string(table)) {
			if n.cidr.Contains(a.Addr()) && a.String() != n.api() {
				return a.String(), nil
			}
		}
	}
	return "", nil
}

// What /proc/net/tcp and udp say of a socket that waits for whoever comes (proc_pid_net(5), net/tcp_states.h).
const (
	tcpListen = "0A"
	udpBound  = "07"
)

// listeners reads a table of sockets: "0: 0400013D:094B 00000000:0000 0A ...", the address in the machine's order of bytes.
func listeners(table string) []netip.AddrPort {
	var all []netip.AddrPort
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != tcpListen && fields[3] != udpBound {
			continue
		}
		address, port, _ := strings.Cut(fields[1], ":")
		a, err := strconv.ParseUint(address, 16, 32)
		if err != nil {
			continue // the heading
		}
		p, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			continue
		}
		var ip [4]byte
		binary.NativeEndian.PutUint32(ip[:], uint32(a))
		all = append(all, netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(p)))
	}
	return all
}

func (n network) address(last byte, port int) string {
	a := n.cidr.Addr().As4()
	a[3] = last
	return fmt.Sprintf("%s:%d", netip.AddrFrom4(a), port)
}

func (n network) api() string { return n.address(1, apiPort) }

func (n network) s3() string { return n.address(2, s3Port) }

func imdsAddress(instance netip.Addr) string { return fmt.Sprintf("%s:%d", instance, imdsPort) }

// subnets are one in each of three zones.
func (n network) subnets(region string) []cloud.Subnet {
	var all []cloud.Subnet
	for i, zone := range []string{"a", "b", "c"} {
		base := n.cidr.Addr().As4()
		base[2] = byte(16 * i)
		all = append(all, cloud.Subnet{Zone: region + zone, CIDR: netip.PrefixFrom(netip.AddrFrom4(base), 20)})
	}
	return all
}
