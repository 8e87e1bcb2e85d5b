// Package facts observes the node: IMDS, EC2 tags, disks, network and installed software, as plain data.
//
// Gather reads the world; the parsers beside it are pure and have testdata. Facts marshals to JSON, so that a plan can
// be reproduced anywhere from config.yaml and facts.json.
//
// To read another tag, see tags.go; to observe something new, add a field here and a file that reads it.
package facts

import "net/netip"

// Facts is what was observed of one node.
type Facts struct {
	Instance Instance `json:"instance"`
	Tags     Tags     `json:"tags"`
	Machine  Machine  `json:"machine"`
}

// Instance is what IMDS says.
type Instance struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	ImageID   string `json:"imageID,omitempty"`
	AccountID string `json:"accountID"`
	Region    string `json:"region"`
	Zone      string `json:"zone"`
	ZoneID    string `json:"zoneID,omitempty"`
	// Partition is "aws", "aws-cn", "aws-us-gov", ...; DNSSuffix is "amazonaws.com", "amazonaws.com.cn", ...
	Partition string `json:"partition"`
	DNSSuffix string `json:"dnsSuffix"`
	// PrivateDNSName is ip-10-0-0-1.<region>.compute.internal (us-east-1: ec2.internal), or the resource name
	// i-....<region>.compute.internal; made from the address and region, never from IMDS local-hostname, which a DHCP
	// option set can change (kOps #13358).
	PrivateDNSName string `json:"privateDNSName,omitempty"`
	// ResourceName: the hostname type of the instance is its resource name, and PrivateDNSName has that form.
	ResourceName bool `json:"resourceName,omitempty"`
	// PrivateIPs are the primary interface's addresses, IPv4 first.
	PrivateIPv4 netip.Addr     `json:"privateIPv4,omitzero"`
	IPv6        netip.Addr     `json:"ipv6,omitzero"`
	PublicIPv4  netip.Addr     `json:"publicIPv4,omitzero"`
	MAC         string         `json:"mac,omitempty"`
	SubnetID    string         `json:"subnetID,omitempty"`
	SubnetCIDRs []netip.Prefix `json:"subnetCIDRs,omitempty"`
	VPCID       string         `json:"vpcID,omitempty"`
	VPCCIDRs    []netip.Prefix `json:"vpcCIDRs,omitempty"`
	// RoleARN is the instance profile's ARN, and RoleName the role whose credentials IMDS serves.
	ProfileARN string `json:"profileARN,omitempty"`
	RoleName   string `json:"roleName,omitempty"`
	// Lifecycle is "on-demand", "spot" or "scheduled".
	Lifecycle string `json:"lifecycle,omitempty"`
	// TargetLifecycleState is the Auto Scaling state that the instance is heading to: InService, Warmed:Stopped, ...
	TargetLifecycleState string `json:"targetLifecycleState,omitempty"`
}

// Tags are the instance's tags that the agent could read.
type Tags struct {
	// Source is "imds", "ec2" or "" (none was needed).
	Source  string            `json:"source,omitempty"`
	All     map[string]string `json:"all,omitempty"`
	Cluster string            `json:"cluster,omitempty"` // from rekindle:cluster, KubernetesCluster or kubernetes.io/cluster/NAME
	Role    string            `json:"role,omitempty"`    // from rekindle:role or k8s.io/role/*
}

// Machine is the node itself.
type Machine struct {
	Hostname    string `json:"hostname"`
	Kernel      string `json:"kernel"`
	Arch        string `json:"arch"` // amd64 or arm64
	CPUs        int    `json:"cpus"`
	MemoryBytes int64  `json:"memoryBytes"`
	CgroupV2    bool   `json:"cgroupV2"`
	// StorageBytes is the size of the file system that holds (or will hold) /var/lib/kubelet.
	StorageBytes int64       `json:"storageBytes,omitempty"`
	Disks        []Disk      `json:"disks,omitempty"`
	Interfaces   []Interface `json:"interfaces,omitempty"`
	DefaultRoute *Route      `json:"defaultRoute,omitempty"`
	// ResolvConf is the resolver file that kubelet shall hand to pods: the real upstreams, not a stub on 127.0.0.53.
	ResolvConf string `json:"resolvConf,omitempty"`
	// ENI limits of the instance type; nil when the type is unknown.
	ENI *ENILimits `json:"eni,omitempty"`
	// Software found on the disk, by name: kubelet, containerd, runc, etcd; the value is its version.
	Software map[string]string `json:"software,omitempty"`
}

// ENILimits are the network limits of an instance type.
type ENILimits struct {
	Interfaces       int `json:"interfaces"` // on the default network card
	IPv4PerInterface int `json:"ipv4PerInterface"`
}

// Disk is one block device.
type Disk struct {
	Name   string `json:"name"` // "nvme1n1"
	Path   string `json:"path"` // "/dev/nvme1n1"
	Bytes  int64  `json:"bytes"`
	Model  string `json:"model,omitempty"`
	Serial string `json:"serial,omitempty"`
	// VolumeID of an EBS volume, from the NVMe serial; empty for instance store.
	VolumeID   string   `json:"volumeID,omitempty"`
	Rotational bool     `json:"rotational,omitempty"`
	Mounts     []string `json:"mounts,omitempty"`
	Partitions []string `json:"partitions,omitempty"`
}

// Interface is one network link.
type Interface struct {
	Name      string         `json:"name"`
	MAC       string         `json:"mac,omitempty"`
	MTU       int            `json:"mtu"`
	Up        bool           `json:"up"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// Route is the default route.
type Route struct {
	Interface string     `json:"interface"`
	Gateway   netip.Addr `json:"gateway,omitzero"`
	MTU       int        `json:"mtu"`
}
