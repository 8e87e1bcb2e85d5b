package region

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"rekindle/test/cloud"
)

// The ports of the region. Every instance has an address of its own, so its ports are those of a real node.
const (
	apiPort  = 4566
	s3Port   = 7070
	imdsPort = 1338 // 80 needs root
)

// network is the VPC: a /16 of 127.0.0.0/8. Its first addresses are AWS's own, as in every VPC; the APIs are there.
type network struct{ cidr netip.Prefix }

// claim finds a network that no other lab on this machine uses. Who listens on its API port owns it.
func claim(ctx context.Context) (network, net.Listener, error) {
	var errs []error
	for second := byte(61); second < 250; second++ {
		n := network{netip.PrefixFrom(netip.AddrFrom4([4]byte{127, second, 0, 0}), 16)}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", n.address(1, apiPort))
		if err == nil {
			return n, l, nil
		}
		if errs = append(errs, err); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return network{}, nil, fmt.Errorf("no free network in 127.0.0.0/8: %w", errors.Join(errs...))
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
