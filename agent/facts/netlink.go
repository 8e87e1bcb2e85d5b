package facts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Netlink is the network of the namespace that the agent runs in.
type Netlink struct{}

// Look implements Links. Interfaces are those that carry the node's own traffic: devices, bonds and VLANs, and what the
// default route goes over. A node full of pods has hundreds of veth pairs, which are none of the plan's business.
func (Netlink) Look() ([]Interface, *Route, error) {
	links, err := again(netlink.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("links: %w", err)
	}
	routes, err := again(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("routes: %w", err)
	}
	addresses, err := again(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, nil, fmt.Errorf("addresses: %w", err)
	}
	index, route := defaultRoute(routes)
	var interfaces []Interface
	for _, l := range links {
		a := l.Attrs()
		if route != nil && a.Index == index {
			route.Interface = a.Name
			if route.MTU == 0 {
				route.MTU = a.MTU
			}
		} else if !carriesNode(l) {
			continue
		}
		interfaces = append(interfaces, Interface{
			Name: a.Name, MAC: a.HardwareAddr.String(), MTU: a.MTU, Up: isUp(a), Addresses: addressesOf(a.Index, addresses),
		})
	}
	if route != nil && route.Interface == "" {
		route = nil // the link went away between the lists
	}
	return interfaces, route, nil
}

func carriesNode(l netlink.Link) bool {
	if l.Attrs().Flags&net.FlagLoopback != 0 {
		return false
	}
	switch l.Type() {
	case "device", "bond", "vlan":
		return true
	}
	return false
}

// isUp: virtual devices never say "up", only "unknown".
func isUp(a *netlink.LinkAttrs) bool {
	return a.Flags&net.FlagUp != 0 && (a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown)
}

func addressesOf(index int, all []netlink.Addr) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, a := range all {
		if a.LinkIndex != index || a.IPNet == nil {
			continue
		}
		// A tentative IPv6 address cannot be used before duplicate address detection is over.
		if a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0 {
			continue
		}
		if p, ok := prefix(a.IPNet); ok {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.Unmap(), ones), true
}

// defaultRoute picks the default route with the lowest metric, IPv4 before IPv6: an instance with several interfaces
// has several (awslabs/amazon-eks-ami #1678).
func defaultRoute(routes []netlink.Route) (index int, best *Route) {
	var bestRoute *netlink.Route
	for n := range routes {
		r := &routes[n]
		if !isDefault(r) || r.Type != unix.RTN_UNICAST || hop(r) == 0 {
			continue
		}
		if bestRoute == nil || family(r) < family(bestRoute) ||
			family(r) == family(bestRoute) && r.Priority < bestRoute.Priority {
			bestRoute = r
		}
	}
	if bestRoute == nil {
		return 0, nil
	}
	gw := bestRoute.Gw
	if len(bestRoute.MultiPath) > 0 {
		gw = bestRoute.MultiPath[0].Gw
	}
	best = &Route{MTU: bestRoute.MTU}
	if addr, ok := netip.AddrFromSlice(gw); ok {
		best.Gateway = addr.Unmap()
	}
	return hop(bestRoute), best
}

func isDefault(r *netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}

func hop(r *netlink.Route) int {
	if len(r.MultiPath) > 0 {
		return r.MultiPath[0].LinkIndex
	}
	return r.LinkIndex
}

// family orders IPv4 before IPv6.
func family(r *netlink.Route) int {
	if r.Family == unix.AF_INET {
		return 0
	}
	return 1
}

// again repeats a dump that the kernel interrupted because its table changed meanwhile.
func again[T any](list func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, nil // a busy machine: what was read is mostly right, and the next change is looked at again
}

// Watch implements Links.
func (Netlink) Watch(ctx context.Context) (<-chan struct{}, error) {
	done := make(chan struct{})
	stop := sync.OnceFunc(func() { close(done) })
	broken := func(error) { stop() }
	links := make(chan netlink.LinkUpdate)
	addresses := make(chan netlink.AddrUpdate)
	routes := make(chan netlink.RouteUpdate)
	started := 0
	for _, subscribe := range []func() error{
		func() error {
			return netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: broken})
		},
		func() error {
			return netlink.AddrSubscribeWithOptions(addresses, done, netlink.AddrSubscribeOptions{ErrorCallback: broken})
		},
		func() error {
			return netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: broken})
		},
	} {
		if err := subscribe(); err != nil {
			stop()
			drain(started, links, addresses, routes)
			return nil, fmt.Errorf("netlink subscription: %w", err)
		}
		started++
	}
	changes := make(chan struct{}, 1)
	go func() {
		defer close(changes)
		defer drain(started, links, addresses, routes)
		defer stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-done:
				return
			case _, ok := <-links:
				if !ok {
					return
				}
			case _, ok := <-addresses:
				if !ok {
					return
				}
			case _, ok := <-routes:
				if !ok {
					return
				}
			}
			select {
			case changes <- struct{}{}:
			default: // one is under way already
			}
		}
	}()
	return changes, nil
}

// drain waits until the first n subscriptions have closed their channels, and with them their sockets.
func drain(n int, links <-chan netlink.LinkUpdate, addresses <-chan netlink.AddrUpdate, routes <-chan netlink.RouteUpdate) {
	if n > 0 {
		for range links {
		}
	}
	if n > 1 {
		for range addresses {
		}
	}
	if n > 2 {
		for range routes {
		}
	}
}
