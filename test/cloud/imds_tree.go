package cloud

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// tree is all that an instance's metadata service serves, by path below /latest/. What is absent is 404.
func (m *metadata) tree(i *Instance) map[string]string {
	t := map[string]string{}
	if len(i.UserData) > 0 {
		t["user-data"] = string(i.UserData)
	}
	t["dynamic/instance-identity/document"] = m.identity(i)
	for k, v := range m.machine(i) {
		t["meta-data/"+k] = v
	}
	for k, v := range m.network(i) {
		t["meta-data/network/interfaces/macs/"+i.MAC+"/"+k] = v
	}
	for k, v := range m.iam(i) {
		t["meta-data/iam/"+k] = v
	}
	if i.Metadata.Tags {
		for k, v := range m.visibleTags(i.ID, delayOf(m.effects, lateTags)) {
			t["meta-data/tags/instance/"+k] = v
		}
	}
	if target := m.targetState(i); target != "" {
		t["meta-data/autoscaling/target-lifecycle-state"] = target
	}
	for k, v := range i.extra {
		t[k] = v
	}
	for k, v := range t {
		if v == absent {
			delete(t, k)
		}
	}
	return t
}

// absent marks a path that SetMetadata removed.
const absent = "\x00absent"

// SetMetadata overrides one path below /latest/, such as meta-data/events/recommendations/rebalance.
func (c *Cloud) SetMetadata(instanceID, path, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.instances[instanceID]; i != nil {
		i.extra[path] = value
	}
}

// RemoveMetadata makes one path below /latest/ answer 404.
func (c *Cloud) RemoveMetadata(instanceID, path string) { c.SetMetadata(instanceID, path, absent) }

// InterruptSpot gives a spot instance notice: spot/instance-action and spot/termination-time appear in IMDS.
// Ending the instance at that time is left to the caller.
func (c *Cloud) InterruptSpot(instanceID string, at time.Time) {
	when := at.UTC().Format(time.RFC3339)
	c.SetMetadata(instanceID, "meta-data/spot/instance-action", fmt.Sprintf(`{"action":"terminate","time":"%s"}`, when))
	c.SetMetadata(instanceID, "meta-data/spot/termination-time", when)
}

// RecommendRebalance makes events/recommendations/rebalance appear in IMDS.
func (c *Cloud) RecommendRebalance(instanceID string, at time.Time) {
	c.SetMetadata(instanceID, "meta-data/events/recommendations/rebalance",
		fmt.Sprintf(`{"noticeTime":"%s"}`, at.UTC().Format(time.RFC3339)))
}

func (m *metadata) machine(i *Instance) map[string]string {
	region := m.opts.Region
	t := map[string]string{
		"ami-id":                         i.ImageID,
		"ami-launch-index":               "0",
		"ami-manifest-path":              "(unknown)",
		"block-device-mapping/ami":       "/dev/xvda",
		"block-device-mapping/root":      "/dev/xvda",
		"hostname":                       i.PrivateDNSName(),
		"instance-action":                "none",
		"instance-id":                    i.ID,
		"instance-life-cycle":            i.lifeCycle(),
		"instance-type":                  i.Type,
		"local-hostname":                 i.PrivateDNSName(),
		"local-ipv4":                     i.PrivateIP.String(),
		"mac":                            i.MAC,
		"placement/availability-zone":    i.Zone,
		"placement/availability-zone-id": zoneID(i.Zone),
		"placement/region":               region,
		"profile":                        "default-hvm",
		"reservation-id":                 shortID("r", i.ID),
		"security-groups":                "default",
		"services/domain":                m.partition.domain,
		"services/partition":             m.opts.Partition,
		"system":                         "nitro",
		"events/maintenance/history":     "[]",
		"events/maintenance/scheduled":   "[]",
	}
	if i.IPv6.IsValid() {
		t["ipv6"] = i.IPv6.String()
	}
	if public := m.publicIPOf(i); public.IsValid() {
		t["public-ipv4"] = public.String()
		t["public-hostname"] = "ec2-" + dashed(public) + "." + m.publicDomain()
	}
	if i.KeyName != "" {
		t["public-keys/0/openssh-key"] = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 " + i.KeyName
	}
	return t
}

func (m *metadata) network(i *Instance) map[string]string {
	t := map[string]string{
		"device-number":          "0",
		"interface-id":           shortID("eni", i.ID),
		"local-hostname":         i.PrivateDNSName(),
		"local-ipv4s":            i.PrivateIP.String(),
		"mac":                    i.MAC,
		"network-card-index":     "0",
		"owner-id":               m.opts.AccountID,
		"security-group-ids":     securityGroupID,
		"security-groups":        "default",
		"subnet-id":              i.SubnetID,
		"subnet-ipv4-cidr-block": i.subnet.CIDR.String(),
		"vpc-id":                 vpcID,
		"vpc-ipv4-cidr-block":    m.opts.VPCCIDR.String(),
		"vpc-ipv4-cidr-blocks":   m.opts.VPCCIDR.String(),
	}
	if i.IPv6.IsValid() {
		t["ipv6s"] = i.IPv6.String()
		t["subnet-ipv6-cidr-blocks"] = i.subnet.CIDR6.String()
		t["vpc-ipv6-cidr-blocks"] = netip.PrefixFrom(i.subnet.CIDR6.Addr(), 56).Masked().String()
	}
	if public := m.publicIPOf(i); public.IsValid() {
		t["public-ipv4s"] = public.String()
		t["public-hostname"] = "ec2-" + dashed(public) + "." + m.publicDomain()
		t["ipv4-associations/"+public.String()] = i.PrivateIP.String()
	}
	return t
}

func (m *metadata) iam(i *Instance) map[string]string {
	if i.Role == "" {
		return nil
	}
	c := m.roleCredentials(i)
	info := toJSON(map[string]string{
		"Code":               "Success",
		"LastUpdated":        c.Issued.UTC().Format(time.RFC3339),
		"InstanceProfileArn": m.arn("iam", "", "instance-profile/"+i.Role),
		"InstanceProfileId":  uniqueID("AIPA", i.Role),
	})
	key := toJSON(map[string]string{
		"Code":            "Success",
		"LastUpdated":     c.Issued.UTC().Format(time.RFC3339),
		"Type":            "AWS-HMAC",
		"AccessKeyId":     c.AccessKeyID,
		"SecretAccessKey": c.SecretAccessKey,
		"Token":           c.SessionToken,
		"Expiration":      c.Expiration.UTC().Format(time.RFC3339),
	})
	return map[string]string{"info": info, "security-credentials/" + i.Role: key}
}

func (m *metadata) identity(i *Instance) string {
	return toJSON(map[string]any{
		"accountId":               m.opts.AccountID,
		"architecture":            architecture(i.Type),
		"availabilityZone":        i.Zone,
		"billingProducts":         nil,
		"devpayProductCodes":      nil,
		"marketplaceProductCodes": nil,
		"imageId":                 i.ImageID,
		"instanceId":              i.ID,
		"instanceType":            i.Type,
		"kernelId":                nil,
		"pendingTime":             i.LaunchTime.UTC().Format(time.RFC3339),
		"privateIp":               i.PrivateIP.String(),
		"ramdiskId":               nil,
		"region":                  m.opts.Region,
		"version":                 "2017-09-30",
	})
}

func (i *Instance) lifeCycle() string {
	if i.Spot {
		return "spot"
	}
	return "on-demand"
}

// toJSON is indented as IMDS does it.
func toJSON(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // maps of strings only
	}
	return strings.TrimSpace(string(b))
}
