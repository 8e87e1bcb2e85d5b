package cloud

import (
	"fmt"
	"maps"
	"slices"
)

// instanceStates are EC2's codes.
var instanceStates = map[string]int{
	"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80,
}

type xmlState struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

func stateOf(name string) xmlState { return xmlState{instanceStates[name], name} }

type xmlGroup struct {
	ID   string `xml:"groupId"`
	Name string `xml:"groupName"`
}

type xmlInstance struct {
	ID         string   `xml:"instanceId"`
	ImageID    string   `xml:"imageId"`
	State      xmlState `xml:"instanceState"`
	PrivateDNS string   `xml:"privateDnsName"`
	PublicDNS  string   `xml:"dnsName"`
	KeyName    string   `xml:"keyName,omitempty"`
	Type       string   `xml:"instanceType"`
	LaunchTime string   `xml:"launchTime"`
	Placement  struct {
		Zone    string `xml:"availabilityZone"`
		Tenancy string `xml:"tenancy"`
	} `xml:"placement"`
	SubnetID        string         `xml:"subnetId,omitempty"`
	VpcID           string         `xml:"vpcId,omitempty"`
	PrivateIP       string         `xml:"privateIpAddress,omitempty"`
	PublicIP        string         `xml:"ipAddress,omitempty"`
	IPv6            string         `xml:"ipv6Address,omitempty"`
	SourceDestCheck bool           `xml:"sourceDestCheck"`
	Groups          []xmlGroup     `xml:"groupSet>item"`
	Architecture    string         `xml:"architecture"`
	RootDevice      string         `xml:"rootDeviceName"`
	LifeCycle       string         `xml:"instanceLifecycle,omitempty"`
	Profile         *xmlProfile    `xml:"iamInstanceProfile"`
	Volumes         []xmlBlock     `xml:"blockDeviceMapping>item"`
	Tags            []xmlTag       `xml:"tagSet>item"`
	Interfaces      []xmlInterface `xml:"networkInterfaceSet>item"`
	Metadata        xmlMetadata    `xml:"metadataOptions"`
}

type xmlProfile struct {
	ARN string `xml:"arn"`
	ID  string `xml:"id"`
}

type xmlBlock struct {
	Device string `xml:"deviceName"`
	Volume string `xml:"ebs>volumeId"`
	Status string `xml:"ebs>status"`
}

type xmlMetadata struct {
	State    string `xml:"state"`
	Tokens   string `xml:"httpTokens"`
	HopLimit int    `xml:"httpPutResponseHopLimit"`
	Endpoint string `xml:"httpEndpoint"`
	Tags     string `xml:"instanceMetadataTags"`
}

type xmlInterface struct {
	ID          string    `xml:"networkInterfaceId"`
	SubnetID    string    `xml:"subnetId"`
	VpcID       string    `xml:"vpcId"`
	Zone        string    `xml:"availabilityZone,omitempty"`
	MAC         string    `xml:"macAddress"`
	Status      string    `xml:"status"`
	PrivateIP   string    `xml:"privateIpAddress"`
	PrivateDNS  string    `xml:"privateDnsName"`
	SourceCheck bool      `xml:"sourceDestCheck"`
	IPv6        []xmlIPv6 `xml:"ipv6AddressesSet>item"`
	Attachment  struct {
		Instance string `xml:"instanceId,omitempty"`
		Index    int    `xml:"deviceIndex"`
		Status   string `xml:"status"`
	} `xml:"attachment"`
}

type xmlIPv6 struct {
	Address string `xml:"ipv6Address"`
}

// seen is the state of an instance as this reader sees it.
func (a *call) seen(i *Instance) string {
	if i.gone() && a.now().Sub(i.ended) < delayOf(a.effects, lateEnd) {
		return "running"
	}
	return i.state
}

// describe is an instance as the API shows it. One that ended has no addresses.
func (a *call) describe(i *Instance) xmlInstance {
	x := xmlInstance{
		ID: i.ID, ImageID: i.ImageID, State: stateOf(a.seen(i)), KeyName: i.KeyName, Type: i.Type,
		LaunchTime: timestamp(i.LaunchTime), SourceDestCheck: i.sourceDestCheck, Architecture: architecture(i.Type),
		RootDevice: "/dev/xvda", Tags: xmlTags(a.visibleTags(i.ID, delayOf(a.effects, lateTags))),
		Metadata: xmlMetadata{"applied", "required", i.Metadata.HopLimit, "enabled", "disabled"},
	}
	x.Placement.Zone, x.Placement.Tenancy = i.Zone, "default"
	if i.Metadata.TokensOptional {
		x.Metadata.Tokens = "optional"
	}
	if i.Metadata.Disabled {
		x.Metadata.Endpoint = "disabled"
	}
	if i.Metadata.Tags {
		x.Metadata.Tags = "enabled"
	}
	if i.Spot {
		x.LifeCycle = "spot"
	}
	if i.Role != "" {
		x.Profile = &xmlProfile{a.arn("iam", "", "instance-profile/"+i.Role), uniqueID("AIPA", i.Role)}
	}
	for _, id := range slices.Sorted(maps.Keys(a.volumes)) {
		if v := a.volumes[id]; v.Instance == i.ID {
			x.Volumes = append(x.Volumes, xmlBlock{v.Device, v.ID, "attached"})
		}
	}
	if x.State.Name == "terminated" {
		return x
	}
	x.PrivateDNS, x.PrivateIP = i.PrivateDNSName(), i.PrivateIP.String()
	x.SubnetID, x.VpcID = i.SubnetID, vpcID
	x.Groups = []xmlGroup{{securityGroupID, "default"}}
	if public := a.publicIPOf(i); public.IsValid() {
		x.PublicIP = public.String()
		x.PublicDNS = "ec2-" + dashed(public) + "." + a.publicDomain()
	}
	if i.IPv6.IsValid() {
		x.IPv6 = i.IPv6.String()
	}
	x.Interfaces = []xmlInterface{a.describeInterface(i)}
	return x
}

func (a *call) describeInterface(i *Instance) xmlInterface {
	x := xmlInterface{
		ID: shortID("eni", i.ID), SubnetID: i.SubnetID, VpcID: vpcID, MAC: i.MAC, Status: "in-use", Zone: i.Zone,
		PrivateIP: i.PrivateIP.String(), PrivateDNS: i.PrivateDNSName(), SourceCheck: i.sourceDestCheck,
	}
	if i.IPv6.IsValid() {
		x.IPv6 = []xmlIPv6{{i.IPv6.String()}}
	}
	x.Attachment.Instance, x.Attachment.Status = i.ID, "attached"
	return x
}

// instanceValues are what DescribeInstances filters by, tags aside.
func (a *call) instanceValues(x xmlInstance) func(string) ([]string, bool) {
	return func(name string) ([]string, bool) {
		v, known := map[string]string{
			"instance-id":         x.ID,
			"instance-state-name": x.State.Name,
			"instance-state-code": fmt.Sprint(x.State.Code),
			"instance-type":       x.Type,
			"instance-lifecycle":  x.LifeCycle,
			"image-id":            x.ImageID,
			"availability-zone":   x.Placement.Zone,
			"private-ip-address":  x.PrivateIP,
			"private-dns-name":    x.PrivateDNS,
			"ip-address":          x.PublicIP,
			"subnet-id":           x.SubnetID,
			"vpc-id":              x.VpcID,
			"network-interface.addresses.private-ip-address": x.PrivateIP,
		}[name]
		return []string{v}, known
	}
}
