package facts

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// reading is an Instance while its keys are read side by side.
type reading struct {
	Instance
	subnet4, subnet6, vpc4, vpc6 []netip.Prefix
}

// instanceKey is one value of IMDS; every one is parsed into fields of its own, so they can be read side by side.
type instanceKey struct {
	name     string
	required bool
	parse    func(*reading, string) error
}

func instanceKeys(mac string) []instanceKey {
	primary := "meta-data/network/interfaces/macs/" + mac + "/"
	text := func(name string, field func(*Instance) *string) instanceKey {
		return instanceKey{name: name, parse: func(r *reading, s string) error { *field(&r.Instance) = s; return nil }}
	}
	must := func(k instanceKey) instanceKey { k.required = true; return k }
	return []instanceKey{
		must(text("meta-data/services/partition", func(i *Instance) *string { return &i.Partition })),
		must(text("meta-data/services/domain", func(i *Instance) *string { return &i.DNSSuffix })),
		text("meta-data/placement/availability-zone-id", func(i *Instance) *string { return &i.ZoneID }),
		text("meta-data/instance-life-cycle", func(i *Instance) *string { return &i.Lifecycle }),
		text("meta-data/autoscaling/target-lifecycle-state", func(i *Instance) *string { return &i.TargetLifecycleState }),
		text(primary+"subnet-id", func(i *Instance) *string { return &i.SubnetID }),
		text(primary+"vpc-id", func(i *Instance) *string { return &i.VPCID }),
		{name: "meta-data/hostname", parse: func(r *reading, s string) error {
			r.ResourceName = isResourceName(s, r.ID)
			return nil
		}},
		{name: "meta-data/public-ipv4", parse: func(r *reading, s string) (err error) {
			r.PublicIPv4, err = netip.ParseAddr(s)
			return err
		}},
		{name: primary + "ipv6s", parse: func(r *reading, s string) (err error) {
			r.IPv6, err = netip.ParseAddr(strings.Fields(s)[0]) // the first is the primary one
			return err
		}},
		{name: "meta-data/iam/security-credentials/", parse: func(r *reading, s string) error {
			r.RoleName = strings.Fields(s)[0]
			return nil
		}},
		{name: "meta-data/iam/info", parse: func(r *reading, s string) (err error) {
			r.ProfileARN, err = parseProfile(s)
			return err
		}},
		cidrs(primary+"subnet-ipv4-cidr-block", func(r *reading) *[]netip.Prefix { return &r.subnet4 }),
		cidrs(primary+"subnet-ipv6-cidr-blocks", func(r *reading) *[]netip.Prefix { return &r.subnet6 }),
		cidrs(primary+"vpc-ipv4-cidr-blocks", func(r *reading) *[]netip.Prefix { return &r.vpc4 }),
		cidrs(primary+"vpc-ipv6-cidr-blocks", func(r *reading) *[]netip.Prefix { return &r.vpc6 }),
	}
}

func cidrs(name string, field func(*reading) *[]netip.Prefix) instanceKey {
	return instanceKey{name: name, parse: func(r *reading, s string) (err error) {
		*field(r), err = parsePrefixes(s)
		return err
	}}
}

// instance puts together what came from several keys.
func (r *reading) instance() Instance {
	i := r.Instance
	i.SubnetCIDRs = slices.Concat(r.subnet4, r.subnet6)
	i.VPCCIDRs = slices.Concat(r.vpc4, r.vpc6)
	i.PrivateDNSName = PrivateDNSName(i.ID, i.Region, i.PrivateIPv4, i.ResourceName)
	return i
}

// parseDocument reads the instance identity document.
func parseDocument(text string) (Instance, error) {
	var d struct {
		InstanceID       string `json:"instanceId"`
		InstanceType     string `json:"instanceType"`
		ImageID          string `json:"imageId"`
		AccountID        string `json:"accountId"`
		Region           string `json:"region"`
		AvailabilityZone string `json:"availabilityZone"`
		PrivateIP        string `json:"privateIp"`
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return Instance{}, fmt.Errorf("imds: identity document: %w", err)
	}
	i := Instance{
		ID: d.InstanceID, Type: d.InstanceType, ImageID: d.ImageID, AccountID: d.AccountID, Region: d.Region,
		Zone: d.AvailabilityZone,
	}
	for name, value := range map[string]string{"instanceId": i.ID, "region": i.Region, "availabilityZone": i.Zone} {
		if value == "" {
			return Instance{}, fmt.Errorf("imds: identity document: no %s", name)
		}
	}
	if d.PrivateIP != "" { // an IPv6-only instance has none
		var err error
		if i.PrivateIPv4, err = netip.ParseAddr(d.PrivateIP); err != nil {
			return Instance{}, fmt.Errorf("imds: identity document: privateIp: %w", err)
		}
	}
	return i, nil
}

func parseProfile(text string) (string, error) {
	var info struct{ InstanceProfileArn string }
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		return "", err
	}
	return info.InstanceProfileArn, nil
}

func parsePrefixes(text string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for field := range strings.FieldsSeq(text) {
		p, err := netip.ParsePrefix(field)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}
