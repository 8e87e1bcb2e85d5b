package join

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"rekindle/agent/facts"
)

// Instance is what EC2 says of an instance.
type Instance struct {
	ID    string
	State string // pending, running, shutting-down, terminated, stopping, stopped
	Tags  map[string]string
	// Addresses are those of the machine itself: of each interface the primary IPv4 address and the IPv6 addresses.
	// Secondary IPv4 addresses and delegated prefixes are what the Amazon VPC CNI plugin gives to pods, and a pod is
	// not its node.
	Addresses []netip.Addr
	// Public are the addresses that the machine is seen at beyond its VPC.
	Public []netip.Addr
	// Names are those that its Kubernetes node may have, as facts.Instance.NodeName makes them.
	Names []string
}

// instanceID is what EC2 calls an instance; the short form is of before 2016.
var instanceID = regexp.MustCompile(`\Ai-([0-9a-f]{8}|[0-9a-f]{17})\z`)

// DescribeInstances asks EC2 about up to some hundred instances. Those that EC2 does not know are not in the answer. It
// needs ec2:DescribeInstances; call is the method of a client in the region.
func DescribeInstances(
	call func(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error),
	region string,
) func(ctx context.Context, ids []string) (map[string]Instance, error) {
	return func(ctx context.Context, ids []string) (map[string]Instance, error) {
		found := map[string]Instance{}
		// A filter and not InstanceIds: one unknown id there would fail the call for all.
		in := &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("instance-id"), Values: ids}}}
		for {
			out, err := call(ctx, in)
			if err != nil {
				return nil, fmt.Errorf("ec2: %w", err)
			}
			for _, r := range out.Reservations {
				for _, i := range r.Instances {
					found[aws.ToString(i.InstanceId)] = instanceOf(i, region)
				}
			}
			if aws.ToString(out.NextToken) == "" {
				return found, nil
			}
			in.NextToken = out.NextToken
		}
	}
}

func instanceOf(i types.Instance, region string) Instance {
	instance := Instance{ID: aws.ToString(i.InstanceId), Tags: map[string]string{}}
	if i.State != nil {
		instance.State = string(i.State.Name)
	}
	for _, t := range i.Tags {
		instance.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	primary := add(&instance.Addresses, i.PrivateIpAddress)
	add(&instance.Public, i.PublicIpAddress)
	add(&instance.Addresses, i.Ipv6Address)
	for _, card := range i.NetworkInterfaces {
		add(&instance.Addresses, card.PrivateIpAddress)
		for _, a := range card.Ipv6Addresses {
			add(&instance.Addresses, a.Ipv6Address)
		}
		if card.Association != nil {
			add(&instance.Public, card.Association.PublicIp)
			add(&instance.Public, card.Association.CarrierIp)
		}
	}
	resource := i.PrivateDnsNameOptions != nil && i.PrivateDnsNameOptions.HostnameType == types.HostnameTypeResourceName
	instance.Names = []string{instance.ID, facts.PrivateDNSName(instance.ID, region, primary, resource)}
	return instance
}

// add appends an address that is not among them yet, and returns it.
func add(to *[]netip.Addr, text *string) netip.Addr {
	address, err := netip.ParseAddr(aws.ToString(text))
	if err != nil {
		return netip.Addr{}
	}
	address = address.Unmap()
	for _, known := range *to {
		if known == address {
			return address
		}
	}
	*to = append(*to, address)
	return address
}
