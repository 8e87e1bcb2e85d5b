package config

import (
	"net/netip"
	"slices"
	"time"
)

// pauseImage is appended to the image repository when no sandbox image is given.
const pauseImage = "pause:3.10.1"

// Default is the lowest layer. What depends on other fields is filled in by Load: see derive.
func Default() *Config {
	return &Config{
		Assets: Assets{Parallel: 16, ReadTimeout: 15 * time.Second},
		Kubernetes: Kubernetes{
			ClusterDomain:   "cluster.local",
			ImageRepository: "registry.k8s.io",
		},
		Node: Node{Name: "instance-id", IPFamily: "ipv4"},
		Etcd: Etcd{
			Clusters: []string{"main"},
			Version:  "3.6.16",
			RunAs:    "pod",
			// The most that etcd suggests. A full quota stops the cluster, and etcd's own 2 GiB fill up sooner than
			// anybody looks.
			QuotaBytes: 8 << 30,
			Backup: EtcdBackup{
				Interval: 15 * time.Minute,
				Deltas:   2 * time.Second,
				Drill:    24 * time.Hour,
				Keep:     EtcdKeep{All: time.Hour, Hourly: 7 * 24 * time.Hour, Daily: 90 * 24 * time.Hour},
				SpoolDir: "/var/lib/rekindle/spool",
			},
		},
		PKI: PKI{
			KeyAlgorithm:  "ECDSA-P256",
			Life:          30 * 24 * time.Hour,
			AuthorityLife: 10 * 365 * 24 * time.Hour,
		},
		Discovery: Discovery{Mode: "auto", Gossip: Gossip{Port: 3987, Members: "all"}},
		APIProxy:  APIProxy{Mode: "auto"},

		Join:    Join{Port: 3988, Roles: []string{"minion", "loadbalancer"}},
		Metrics: Metrics{Listen: "127.0.0.1:3989"},
		Timeouts: Timeouts{
			Metadata: 5 * time.Minute,
			Role:     10 * time.Minute,
			Network:  2 * time.Minute,
			Assets:   20 * time.Minute,
			Etcd:     30 * time.Minute,
			Join:     15 * time.Minute,
			Turn:     30 * time.Minute,
			Unit:     5 * time.Minute,
			Resync:   10 * time.Minute,
		},
	}
}

// derive fills what no layer set and what follows from other fields.
func (c *Config) derive() {
	k := &c.Kubernetes
	// Carrier-grade NAT space: a VPC is hardly ever made from it, while any of the private networks may be one.
	v4, v6 := c.Node.IPFamily != "ipv6", c.Node.IPFamily != "ipv4"
	if len(k.ServiceCIDRs) == 0 {
		k.ServiceCIDRs = networks(v4, v6, "100.64.0.0/13", "fd00:64::/108")
	}
	if len(k.PodCIDRs) == 0 {
		k.PodCIDRs = networks(v4, v6, "100.96.0.0/11", "fd00:96::/48")
	}
	if len(k.ClusterDNS) == 0 {
		for _, text := range k.ServiceCIDRs {
			if network, err := netip.ParsePrefix(text); err == nil {
				k.ClusterDNS = append(k.ClusterDNS, tenth(network).String())
			}
		}
	}
	if c.Containerd.SandboxImage == "" && k.ImageRepository != "" {
		c.Containerd.SandboxImage = k.ImageRepository + "/" + pauseImage
	}
}

func networks(v4, v6 bool, four, six string) []string {
	var out []string
	if v4 {
		out = append(out, four)
	}
	if v6 {
		out = append(out, six)
	}
	return out
}

// tenth is the network's base address plus ten, by arithmetic: appending ".10" to a trimmed address is wrong for
// every network that does not begin at zero.
func tenth(network netip.Prefix) netip.Addr {
	bytes := slices.Clone(network.Masked().Addr().AsSlice())
	carry := 10
	for i := len(bytes) - 1; i >= 0 && carry > 0; i-- {
		carry += int(bytes[i])
		bytes[i] = byte(carry)
		carry >>= 8
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

// APIURL is the API server's URL as nodes use it: kubernetes.apiEndpoint, or a name that is made from the cluster's.
func (c *Config) APIURL() string {
	if c.Kubernetes.APIEndpoint != "" {
		return c.Kubernetes.APIEndpoint
	}
	return "https://api.internal." + c.Cluster + ":6443"
}
