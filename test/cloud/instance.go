package cloud

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// InstanceSpec is what RunInstances or a launch template says. The zero value is an instance without user-data, tags
// or a role, in the first subnet.
type InstanceSpec struct {
	ImageID  string // default made up
	Type     string // default m5.large
	UserData []byte // raw, as IMDS serves it
	Tags     map[string]string
	Role     string // of its instance profile; empty: no credentials in IMDS
	Spot     bool
	KeyName  string

	SubnetID  string
	Zone      string
	PrivateIP netip.Addr // default: the next free one of the subnet
	PublicIP  netip.Addr // default: none, or made up in a public subnet

	Metadata MetadataOptions
}

// MetadataOptions are those of RunInstances; the zero value is what AWS recommends: IMDSv2 only, one hop, no tags.
type MetadataOptions struct {
	Disabled       bool // HttpEndpoint=disabled
	TokensOptional bool // HttpTokens=optional: IMDSv1 answers too
	HopLimit       int  // HttpPutResponseHopLimit; default 1
	Tags           bool // InstanceMetadataTags=enabled
}

// Instance is one machine of the region. The exported fields never change.
type Instance struct {
	ID         string
	ImageID    string
	Type       string
	Zone       string
	SubnetID   string
	PrivateIP  netip.Addr
	IPv6       netip.Addr // zero: none
	MAC        string
	Role       string
	Group      string // of Auto Scaling; empty: none
	UserData   []byte
	Spot       bool
	KeyName    string
	Metadata   MetadataOptions
	LaunchTime time.Time

	cloud *Cloud
	// What follows is guarded by cloud.mu.
	subnet          *Subnet
	state           string
	halted          time.Time // asked to stop
	ended           time.Time
	publicIP        netip.Addr
	sourceDestCheck bool
	credentials     Credentials
	tokens          map[string]time.Time
	extra           map[string]string // metadata set by a test, by path below /latest
}

// Launch starts an instance and tells the subscribers. The errors are EC2's, such as InvalidParameterValue for a tag
// key that IMDS cannot serve.
func (c *Cloud) Launch(spec InstanceSpec) (*Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.launch(spec, "")
}

func (c *Cloud) launch(spec InstanceSpec, group string) (*Instance, error) {
	if len(spec.UserData) > 16384 {
		return nil, errorf(400, "InvalidParameterValue", "User data is limited to 16384 bytes")
	}
	if err := checkTags(spec.Tags, spec.Metadata.Tags); err != nil {
		return nil, err
	}
	subnet, err := c.subnet(spec.SubnetID, spec.Zone)
	if err != nil {
		return nil, err
	}
	address, err := subnet.take(spec.PrivateIP)
	if err != nil {
		return nil, err
	}
	if spec.Type == "" {
		spec.Type = "m5.large"
	}
	if spec.ImageID == "" {
		spec.ImageID = "ami-0123456789abcdef0"
	}
	if spec.Metadata.HopLimit == 0 {
		spec.Metadata.HopLimit = 1
	}
	i := &Instance{
		ID: c.id("i"), ImageID: spec.ImageID, Type: spec.Type, Zone: subnet.Zone, SubnetID: subnet.ID,
		PrivateIP: address, IPv6: subnet.address6(address), MAC: mac(address), Role: spec.Role, Group: group,
		UserData: slices.Clone(spec.UserData), Spot: spec.Spot, KeyName: spec.KeyName, Metadata: spec.Metadata,
		LaunchTime: c.now(), cloud: c, subnet: subnet, state: "running", publicIP: spec.PublicIP,
		sourceDestCheck: true, tokens: map[string]time.Time{}, extra: map[string]string{},
	}
	if subnet.Public && !i.publicIP.IsValid() {
		i.publicIP = c.publicAddress()
	}
	c.instances[i.ID] = i
	c.order = append(c.order, i.ID)
	c.tags[i.ID] = maps.Clone(spec.Tags)
	if c.tags[i.ID] == nil {
		c.tags[i.ID] = map[string]string{}
	}
	if group != "" {
		c.tags[i.ID]["aws:autoscaling:groupName"] = group
	}
	c.emitLaunch(i)
	return i, nil
}

// publicAddress makes one up in TEST-NET-3.
func (c *Cloud) publicAddress() netip.Addr {
	return netip.AddrFrom4([4]byte{203, 0, byte(c.rand.IntN(256)), byte(1 + c.rand.IntN(254))})
}

// Terminate ends an instance as the console would: at once, without lifecycle hooks. Its group replaces it.
// An id that is unknown or ended already is ignored.
func (c *Cloud) Terminate(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.instances[id]; ok {
		c.terminate(i)
		c.tick()
	}
}

func (c *Cloud) terminate(i *Instance) {
	if i.gone() {
		return
	}
	i.state, i.ended = "shutting-down", c.now()
	if c.opts.ShutdownTime == 0 {
		i.state = "terminated"
	}
	delete(i.subnet.used, i.PrivateIP)
	for _, v := range c.volumes {
		if v.Instance == i.ID {
			c.detach(v)
		}
	}
	for _, a := range c.addresses {
		if a.Instance == i.ID {
			a.Instance, a.AssociationID = "", ""
		}
	}
	c.emitTerminate(i)
}

// ageInstances ends what has been shutting down for long enough and forgets what ended long ago.
func (c *Cloud) ageInstances() {
	for _, id := range slices.Clone(c.order) {
		i := c.instances[id]
		if i.state == "stopping" && c.now().Sub(i.halted) >= c.opts.ShutdownTime {
			i.state = "stopped"
		}
		if i.ended.IsZero() {
			continue
		}
		gone := c.now().Sub(i.ended)
		if gone >= c.opts.ShutdownTime {
			i.state = "terminated"
		}
		if gone >= c.opts.ForgetAfter {
			c.forget(id)
		}
	}
}

// Forget drops a terminated instance from EC2's memory, as an hour would: it is InvalidInstanceID.NotFound from now on.
func (c *Cloud) Forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.instances[id]; ok && !i.ended.IsZero() {
		c.forget(id)
	}
}

func (c *Cloud) forget(id string) {
	delete(c.instances, id)
	delete(c.tags, id)
	c.order = slices.DeleteFunc(c.order, func(o string) bool { return o == id })
}

// Instance finds an instance, dead ones included, or returns nil.
func (c *Cloud) Instance(id string) *Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.instances[id]
}

// Instances lists all instances that EC2 still describes, in the order of their launch.
func (c *Cloud) Instances() []*Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick()
	all := make([]*Instance, 0, len(c.order))
	for _, id := range c.order {
		all = append(all, c.instances[id])
	}
	return all
}

// State is EC2's: running, stopping, stopped, shutting-down, terminated.
func (i *Instance) State() string {
	i.cloud.mu.Lock()
	defer i.cloud.mu.Unlock()
	i.cloud.tick()
	return i.state
}

// PublicIP is the address of its own or the elastic one; zero when there is none.
func (i *Instance) PublicIP() netip.Addr {
	i.cloud.mu.Lock()
	defer i.cloud.mu.Unlock()
	return i.cloud.publicIPOf(i)
}

// SourceDestCheck is on until ModifyInstanceAttribute turns it off.
func (i *Instance) SourceDestCheck() bool {
	i.cloud.mu.Lock()
	defer i.cloud.mu.Unlock()
	return i.sourceDestCheck
}

// Tags is a copy of the instance's tags.
func (i *Instance) Tags() map[string]string {
	i.cloud.mu.Lock()
	defer i.cloud.mu.Unlock()
	return maps.Clone(i.cloud.tags[i.ID])
}

// PrivateDNSName is ip-10-20-0-4.cn-north-1.compute.internal or alike.
func (i *Instance) PrivateDNSName() string {
	return fmt.Sprintf("ip-%s.%s", dashed(i.PrivateIP), internalDomain(i.cloud.opts.Region))
}

func (i *Instance) alive() bool { return i.state == "running" }

// gone is true of what never comes back.
func (i *Instance) gone() bool { return i.state == "shutting-down" || i.state == "terminated" }

func dashed(a netip.Addr) string { return strings.ReplaceAll(a.String(), ".", "-") }
