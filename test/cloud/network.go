package cloud

import (
	"fmt"
	"net/netip"
)

const (
	vpcID           = "vpc-0a1b2c3d4e5f60718"
	securityGroupID = "sg-0a1b2c3d4e5f60718"
)

// Subnet is a part of the VPC in one zone.
type Subnet struct {
	ID     string // default made up
	Zone   string // default the region's zone a
	CIDR   netip.Prefix
	CIDR6  netip.Prefix // zero: IPv4 only
	Public bool         // instances get a public address

	used map[netip.Addr]bool
	next netip.Addr // where to look for a free one
}

// layNetwork gives every subnet an id and a zone, and makes three subnets when the options name none.
func (c *Cloud) layNetwork() {
	c.subnets = append([]Subnet(nil), c.opts.Subnets...)
	if len(c.subnets) == 0 {
		base := c.opts.VPCCIDR.Addr().As4()
		for i, letter := range []string{"a", "b", "c"} {
			base[2] = byte(i * 16)
			c.subnets = append(c.subnets, Subnet{
				Zone: c.opts.Region + letter,
				CIDR: netip.PrefixFrom(netip.AddrFrom4(base), 20),
			})
		}
	}
	seen := map[string]bool{}
	for i := range c.subnets {
		s := &c.subnets[i]
		if s.ID == "" {
			s.ID = c.id("subnet")
		}
		if s.Zone == "" {
			s.Zone = c.opts.Region + "a"
		}
		s.used = map[netip.Addr]bool{}
		if !seen[s.Zone] {
			seen[s.Zone] = true
			c.zones = append(c.zones, s.Zone)
		}
	}
}

// Subnets lists the subnets as they are, identifiers included.
func (c *Cloud) Subnets() []Subnet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Subnet(nil), c.subnets...)
}

func (c *Cloud) subnet(id, zone string) (*Subnet, error) {
	for i := range c.subnets {
		s := &c.subnets[i]
		if (id == "" || s.ID == id) && (zone == "" || s.Zone == zone) {
			return s, nil
		}
	}
	if id != "" {
		return nil, errorf(400, "InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
	}
	return nil, errorf(400, "InvalidParameterValue", "Invalid availability zone: [%s]", zone)
}

// take reserves an address: the one asked for, or the next that is free. What was given back comes round again late, so
// that an instance's replacement has another. The first four and the last belong to AWS.
func (s *Subnet) take(want netip.Addr) (netip.Addr, error) {
	if want.IsValid() {
		if s.used[want] {
			return want, errorf(400, "InvalidIPAddress.InUse", "Address %s is in use.", want)
		}
		s.used[want] = true
		return want, nil
	}
	first := s.CIDR.Masked().Addr()
	for range 4 {
		first = first.Next()
	}
	if !s.next.IsValid() {
		s.next = first
	}
	for _, from := range []netip.Addr{s.next, first} {
		for addr := from; s.CIDR.Contains(addr.Next()); addr = addr.Next() {
			if !s.used[addr] {
				s.used[addr], s.next = true, addr.Next()
				return addr, nil
			}
		}
	}
	return netip.Addr{}, errorf(400, "InsufficientFreeAddressesInSubnet", "No free addresses in subnet '%s'.", s.ID)
}

// address6 pairs an IPv4 address with one of the subnet's IPv6 addresses.
func (s *Subnet) address6(v4 netip.Addr) netip.Addr {
	if !s.CIDR6.IsValid() {
		return netip.Addr{}
	}
	b, v := s.CIDR6.Masked().Addr().As16(), v4.As4()
	copy(b[12:], v[:])
	return netip.AddrFrom16(b)
}

// mac derives a hardware address from an IPv4 address, so that both are unique together.
func mac(v4 netip.Addr) string {
	b := v4.As4()
	return fmt.Sprintf("02:ec:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}
