package facts

import (
	"net/netip"
	"slices"
	"testing"
)

func TestPrivateDNSName(t *testing.T) {
	v4 := netip.MustParseAddr("10.20.17.9")
	for _, tt := range []struct {
		instance Instance
		want     string
	}{
		{Instance{ID: "i-1", Region: "us-east-1", PrivateIPv4: v4}, "ip-10-20-17-9.ec2.internal"},
		{Instance{ID: "i-1", Region: "us-east-2", PrivateIPv4: v4}, "ip-10-20-17-9.us-east-2.compute.internal"},
		{Instance{ID: "i-1", Region: "cn-north-1", PrivateIPv4: v4}, "ip-10-20-17-9.cn-north-1.compute.internal"},
		{Instance{ID: "i-1", Region: "us-gov-west-1", PrivateIPv4: v4}, "ip-10-20-17-9.us-gov-west-1.compute.internal"},
		{Instance{ID: "i-1", Region: "cn-north-1", PrivateIPv4: v4, ResourceName: true}, "i-1.cn-north-1.compute.internal"},
		{Instance{ID: "i-1", Region: "us-east-1", PrivateIPv4: v4, ResourceName: true}, "i-1.ec2.internal"},
		{Instance{ID: "i-1", Region: "cn-north-1"}, "i-1.cn-north-1.compute.internal"},
		{Instance{ID: "i-1"}, ""},
	} {
		if got := PrivateDNSName(tt.instance.ID, tt.instance.Region, tt.instance.PrivateIPv4, tt.instance.ResourceName); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.instance, got, tt.want)
		}
	}
}

func TestIsResourceName(t *testing.T) {
	for hostname, want := range map[string]bool{
		"i-0abc.cn-north-1.compute.internal": true, "i-0abc.corp.example": true, "i-0abc": true,
		"ip-10-0-0-1.corp.example": false, "i-0abcd.corp.example": false, "": false,
	} {
		if got := isResourceName(hostname, "i-0abc"); got != want {
			t.Errorf("%q: %t", hostname, got)
		}
	}
	if isResourceName("", "") {
		t.Error("nothing is a resource name")
	}
}

func TestProviderID(t *testing.T) {
	if got := (Instance{ID: "i-0abc", Zone: "cn-north-1a"}).ProviderID(); got != "aws:///cn-north-1a/i-0abc" {
		t.Error(got)
	}
	if got := (Instance{ID: "i-0abc"}).ProviderID(); got != "" {
		t.Error(got)
	}
}

func TestNodeName(t *testing.T) {
	i := Instance{ID: "i-0abc", PrivateDNSName: "ip-10-0-0-1.cn-north-1.compute.internal"}
	for kind, want := range map[string]string{
		"": "i-0abc", "instance-id": "i-0abc", "private-dns-name": "ip-10-0-0-1.cn-north-1.compute.internal",
	} {
		if got, err := i.NodeName(kind); got != want || err != nil {
			t.Errorf("%s: %q, %v", kind, got, err)
		}
	}
	for _, kind := range []string{"hostname", "instance-id"} {
		if got, err := (Instance{}).NodeName(kind); err == nil {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

func TestNodeIPs(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2400::1")
	i := Instance{PrivateIPv4: v4, IPv6: v6}
	for family, want := range map[string][]netip.Addr{"": {v4}, "ipv4": {v4}, "ipv6": {v6}, "dual": {v4, v6}} {
		if got, err := i.NodeIPs(family); !slices.Equal(got, want) || err != nil {
			t.Errorf("%s: %v, %v", family, got, err)
		}
	}
	for _, family := range []string{"ipv6", "dual"} {
		if got, err := (Instance{PrivateIPv4: v4}).NodeIPs(family); err == nil {
			t.Errorf("%s without IPv6: %v", family, got)
		}
	}
	if got, err := i.NodeIPs("ipx"); err == nil {
		t.Error(got)
	}
}
