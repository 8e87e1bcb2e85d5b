package cloud

import (
	"maps"
	"net/netip"
	"slices"
)

// Address is an elastic IP address. A test makes it, the agent associates it.
type Address struct {
	AllocationID  string     // made up when empty
	PublicIP      netip.Addr // made up when zero
	Tags          map[string]string
	Instance      string // associated with; empty: none
	AssociationID string
}

// AllocateAddress makes an elastic address and returns it, identifier included.
func (c *Cloud) AllocateAddress(a Address) Address {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.AllocationID == "" {
		a.AllocationID = c.id("eipalloc")
	}
	if !a.PublicIP.IsValid() {
		a.PublicIP = c.publicAddress()
	}
	a.Instance, a.AssociationID = "", ""
	c.addresses[a.AllocationID] = &a
	c.tags[a.AllocationID] = map[string]string{}
	maps.Copy(c.tags[a.AllocationID], a.Tags)
	return a
}

// Address returns an elastic address as it is now.
func (c *Cloud) Address(allocationID string) (Address, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, found := c.addresses[allocationID]
	if !found {
		return Address{}, false
	}
	return *a, true
}

// publicIPOf prefers the elastic address, which takes the place of the other.
func (c *Cloud) publicIPOf(i *Instance) netip.Addr {
	for _, a := range c.addresses {
		if a.Instance == i.ID {
			return a.PublicIP
		}
	}
	return i.publicIP
}

func describeAddresses(a *call) (any, error) {
	type address struct {
		PublicIP      string   `xml:"publicIp"`
		AllocationID  string   `xml:"allocationId"`
		AssociationID string   `xml:"associationId,omitempty"`
		Domain        string   `xml:"domain"`
		Instance      string   `xml:"instanceId,omitempty"`
		Interface     string   `xml:"networkInterfaceId,omitempty"`
		PrivateIP     string   `xml:"privateIpAddress,omitempty"`
		Tags          []xmlTag `xml:"tagSet>item"`
	}
	var out struct {
		Addresses []address `xml:"addressesSet>item"`
	}
	wanted := a.form.list("AllocationId")
	for _, id := range wanted {
		if a.addresses[id] == nil {
			return nil, notFound(id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a.addresses)) {
		e := a.addresses[id]
		x := address{
			PublicIP: e.PublicIP.String(), AllocationID: id, AssociationID: e.AssociationID, Domain: "vpc",
			Instance: e.Instance, Tags: xmlTags(a.tags[id]),
		}
		if i := a.instances[e.Instance]; i != nil {
			x.Interface, x.PrivateIP = shortID("eni", i.ID), i.PrivateIP.String()
		}
		accepted, err := a.accept(a.tags[id], func(name string) ([]string, bool) {
			v, known := map[string]string{
				"allocation-id": id, "association-id": x.AssociationID, "domain": x.Domain, "instance-id": x.Instance,
				"public-ip": x.PublicIP, "private-ip-address": x.PrivateIP,
			}[name]
			return []string{v}, known
		})
		if err != nil {
			return nil, err
		}
		if ips := a.form.list("PublicIp"); accepted && (len(wanted) == 0 || slices.Contains(wanted, id)) &&
			(len(ips) == 0 || slices.Contains(ips, x.PublicIP)) {
			out.Addresses = append(out.Addresses, x)
		}
	}
	return out, nil
}

func associateAddress(a *call) (any, error) {
	e, i := a.addresses[a.form.get("AllocationId")], a.instances[a.form.get("InstanceId")]
	switch {
	case e == nil:
		return nil, notFound(a.form.get("AllocationId"))
	case i == nil:
		return nil, notFound(a.form.get("InstanceId"))
	case !i.alive():
		return nil, errorf(400, "InvalidInstanceID", "The instance '%s' is not in a valid state for this operation.", i.ID)
	case e.Instance != "" && e.Instance != i.ID && a.form.get("AllowReassociation") == "false":
		return nil, errorf(400, "Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", e.AllocationID, e.AssociationID)
	}
	for _, other := range a.addresses {
		if other.Instance == i.ID && other != e {
			other.Instance, other.AssociationID = "", ""
		}
	}
	e.Instance, e.AssociationID = i.ID, a.id("eipassoc")
	return struct {
		Return        bool   `xml:"return"`
		AssociationID string `xml:"associationId"`
	}{true, e.AssociationID}, nil
}

func disassociateAddress(a *call) (any, error) {
	for _, e := range a.addresses {
		if e.AssociationID != "" && e.AssociationID == a.form.get("AssociationId") {
			e.Instance, e.AssociationID = "", ""
			return ok{true}, nil
		}
	}
	return nil, errorf(400, "InvalidAssociationID.NotFound", "The association ID '%s' does not exist", a.form.get("AssociationId"))
}
