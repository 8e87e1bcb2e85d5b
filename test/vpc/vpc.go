// Package vpc is the network of instances on one machine: a network namespace for each, with an address of its own and the
// metadata service's, joined by a switch in this process. Every frame passes through it, so a test can have frames lost, late,
// or stopped, between any two instances and in one direction only, as tc-netem(8) does; not every kernel has that.
//
// It needs root and /dev/net/tun. The process should be in a network namespace of its own (Isolate): the gateway's addresses
// are given to it, so that it can serve instances, and be their client.
package vpc

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
)

// mtu is that of a VPC: "Network MTU for your EC2 instance" in the EC2 User Guide.
const mtu = 9001

// gatewayName is the interface of this process.
const gatewayName = "vpc0"

// VPC is running. Its methods may be called from any goroutine.
type VPC struct {
	cidr netip.Prefix
	own  *port

	mu    sync.RWMutex
	ports map[netip.Addr]*port
	byMAC map[mac]*port
	links map[pair]Link

	late    *delayLine
	reading sync.WaitGroup
}

// New makes a network with the gateway, and gives this process its address, the first one of the network, and others.
func New(cidr netip.Prefix, others ...netip.Addr) (*VPC, error) {
	v := &VPC{cidr: cidr.Masked(), ports: map[netip.Addr]*port{}, byMAC: map[mac]*port{}, links: map[pair]Link{}, late: newDelayLine()}
	tap, err := openTAP(gatewayName)
	if err == nil {
		err = configure(gatewayName, v.cidr, append([]netip.Addr{v.Gateway()}, others...)...)
		v.own = &port{address: v.Gateway(), tap: tap}
	}
	if err != nil {
		v.late.close()
		return nil, fmt.Errorf("vpc: %w (it takes root and /dev/net/tun)", err)
	}
	v.plug(v.own, append(others, v.Gateway())...)
	return v, nil
}

// Gateway is the address of this process that instances have their default route by.
func (v *VPC) Gateway() netip.Addr { return v.cidr.Addr().Next() }

// Close takes the network down. Instances that still run are alone from then on.
func (v *VPC) Close() error {
	v.mu.Lock()
	unique := map[*port]bool{}
	for _, p := range v.ports {
		unique[p] = true
	}
	v.ports = map[netip.Addr]*port{}
	v.mu.Unlock()
	var errs []error
	for p := range unique {
		errs = append(errs, p.tap.Close())
	}
	v.reading.Wait()
	v.late.close()
	return errors.Join(errs...)
}

// Attach makes the network namespace of an instance.
func (v *VPC) Attach(address netip.Addr) (*Host, error) {
	v.mu.RLock()
	taken := v.ports[address] != nil
	v.mu.RUnlock()
	if !v.cidr.Contains(address) || taken {
		return nil, fmt.Errorf("vpc: %s is taken, or not of %s", address, v.cidr)
	}
	space, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("vpc: %w", err)
	}
	var tap *os.File
	err = within(space, func() error {
		var err error
		if tap, err = openTAP("eth0"); err != nil {
			return err
		}
		if err := configure("eth0", v.cidr, address); err != nil {
			return errors.Join(err, tap.Close())
		}
		return errors.Join(loopback(metadata), route(v.Gateway()))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("vpc: %s: %w", address, err), space.Close())
	}
	p := &port{address: address, tap: tap}
	v.plug(p, address)
	return &Host{Address: address, vpc: v, space: space, port: p}, nil
}

// plug joins a port to the switch.
func (v *VPC) plug(p *port, addresses ...netip.Addr) {
	v.mu.Lock()
	for _, a := range addresses {
		v.ports[a] = p
	}
	v.mu.Unlock()
	v.reading.Go(func() { v.forward(p) })
}

// unplug takes one out, and what links were said of its addresses.
func (v *VPC) unplug(p *port) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for a, other := range v.ports {
		if other == p {
			delete(v.ports, a)
		}
	}
	for m, other := range v.byMAC {
		if other == p {
			delete(v.byMAC, m)
		}
	}
	for l := range v.links {
		if l.from == p.address || l.to == p.address {
			delete(v.links, l)
		}
	}
}

// configure gives an interface of this thread's namespace its addresses and brings it up.
func configure(name string, cidr netip.Prefix, addresses ...netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, a := range addresses {
		if err := addAddress(link, netip.PrefixFrom(a, cidr.Bits())); err != nil {
			return err
		}
	}
	if err := errors.Join(netlink.LinkSetMTU(link, mtu), netlink.LinkSetUp(link)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func addAddress(link netlink.Link, address netip.Prefix) error {
	parsed, err := netlink.ParseAddr(address.String())
	if err == nil {
		err = netlink.AddrAdd(link, parsed)
	}
	if err != nil {
		return fmt.Errorf("address %s: %w", address, err)
	}
	return nil
}

// loopback brings lo up and gives it an address more.
func loopback(address netip.Addr) error {
	link, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	return addAddress(link, netip.PrefixFrom(address, address.BitLen()))
}

// route is the default route.
func route(gateway netip.Addr) error {
	if err := netlink.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("route by %s: %w", gateway, err)
	}
	return nil
}
