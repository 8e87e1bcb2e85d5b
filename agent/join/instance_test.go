package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"rekindle/agent/facts"
)

// full is an instance as EC2 describes one that runs the Amazon VPC CNI plugin.
var full = types.Instance{
	InstanceId: aws.String("i-0123456789abcdef0"), PrivateIpAddress: aws.String("10.0.0.7"), PublicIpAddress: aws.String("192.0.2.9"),
	PrivateDnsName: aws.String("ip-10-0-0-7.example.internal"), Ipv6Address: aws.String("2001:db8::7"),
	State: &types.InstanceState{Name: types.InstanceStateNameRunning},
	Tags:  []types.Tag{{Key: aws.String("rekindle:role"), Value: aws.String("minion")}, {Key: aws.String("empty")}},
	NetworkInterfaces: []types.InstanceNetworkInterface{{
		PrivateIpAddress: aws.String("10.0.0.7"),
		PrivateIpAddresses: []types.InstancePrivateIpAddress{
			{Primary: aws.Bool(true), PrivateIpAddress: aws.String("10.0.0.7")},
			{Primary: aws.Bool(false), PrivateIpAddress: aws.String("10.0.0.99")}, // a pod's
		},
		Ipv6Addresses: []types.InstanceIpv6Address{{Ipv6Address: aws.String("2001:db8::7")}, {Ipv6Address: aws.String("2001:db8::8")}},
		Ipv6Prefixes:  []types.InstanceIpv6Prefix{{Ipv6Prefix: aws.String("2001:db8:0:0:1::/80")}},
		Association:   &types.InstanceNetworkInterfaceAssociation{PublicIp: aws.String("192.0.2.9")},
	}, {
		PrivateIpAddress: aws.String("10.0.1.7"),
		Association:      &types.InstanceNetworkInterfaceAssociation{PublicIp: aws.String("192.0.2.10")},
	}},
}

func TestInstanceOf(t *testing.T) {
	i := instanceOf(full, "cn-north-1")
	for what, values := range map[string][2]any{
		"addresses": {i.Addresses, "[10.0.0.7 2001:db8::7 2001:db8::8 10.0.1.7]"},
		"public":    {i.Public, "[192.0.2.9 192.0.2.10]"},
		"names":     {i.Names, "[i-0123456789abcdef0 ip-10-0-0-7.cn-north-1.compute.internal]"},
		"state":     {i.State, "running"},
		"tags":      {i.Tags, "map[empty: rekindle:role:minion]"},
	} {
		if got := fmt.Sprint(values[0]); got != values[1] {
			t.Errorf("%s: %s, want %s", what, got, values[1])
		}
	}
	if empty := instanceOf(types.Instance{}, "cn-north-1"); len(empty.Addresses)+len(empty.Public) != 0 || empty.State != "" {
		t.Errorf("%+v", empty)
	}
}

// TestNamesAreThoseOfTheNode: the server makes from EC2's answer what the node makes from IMDS.
func TestNamesAreThoseOfTheNode(t *testing.T) {
	for _, partition := range []string{"aws", "aws-cn", "aws-us-gov"} {
		data, err := os.ReadFile("../facts/testdata/imds/" + partition + ".golden.json")
		if err != nil {
			t.Fatal(err)
		}
		var node facts.Instance
		if err := json.Unmarshal(data, &node); err != nil {
			t.Fatal(err)
		}
		seen := types.Instance{InstanceId: &node.ID}
		if node.PrivateIPv4.IsValid() {
			seen.PrivateIpAddress = aws.String(node.PrivateIPv4.String())
		}
		if node.ResourceName {
			seen.PrivateDnsNameOptions = &types.PrivateDnsNameOptionsResponse{HostnameType: types.HostnameTypeResourceName}
		}
		names := instanceOf(seen, node.Region).Names
		for n, kind := range []string{"instance-id", "private-dns-name"} {
			if want, err := node.NodeName(kind); err != nil || names[n] != want {
				t.Errorf("%s: %s is %s, and the node calls itself %s (%v)", partition, kind, names[n], want, err)
			}
		}
	}
	for _, tt := range []struct {
		seen         types.Instance
		region, want string
	}{
		{types.Instance{PrivateIpAddress: aws.String("10.0.0.7")}, "us-east-1", "ip-10-0-0-7.ec2.internal"},
		{types.Instance{Ipv6Address: aws.String("2001:db8::7")}, "eu-west-1", "i-1.eu-west-1.compute.internal"},
		{types.Instance{PrivateIpAddress: aws.String("10.0.0.7"), PrivateDnsNameOptions: &types.PrivateDnsNameOptionsResponse{
			HostnameType: types.HostnameTypeResourceName}}, "us-east-1", "i-1.ec2.internal"},
	} {
		tt.seen.InstanceId = aws.String("i-1")
		if names := instanceOf(tt.seen, tt.region).Names; names[1] != tt.want {
			t.Errorf("%s, want %s", names[1], tt.want)
		}
	}
}

func TestDescribeInstances(t *testing.T) {
	var asked []ec2.DescribeInstancesInput
	pages := []*ec2.DescribeInstancesOutput{
		{NextToken: aws.String("1")}, // a page may be empty and still have a successor
		{NextToken: aws.String("2"), Reservations: []types.Reservation{{Instances: []types.Instance{full}}}},
		{Reservations: []types.Reservation{{Instances: []types.Instance{{InstanceId: aws.String("i-2")}, {InstanceId: aws.String("i-3")}}}}},
	}
	describe := DescribeInstances(func(
		_ context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options),
	) (*ec2.DescribeInstancesOutput, error) {
		asked = append(asked, *in)
		if len(asked) > len(pages) {
			return nil, errors.New("RequestLimitExceeded")
		}
		return pages[len(asked)-1], nil
	}, "cn-north-1")
	found, err := describe(t.Context(), []string{"i-0123456789abcdef0", "i-2", "i-3", "i-unknown"})
	if err != nil || len(found) != 3 || found["i-2"].ID != "i-2" {
		t.Errorf("%v, %v", found, err)
	}
	for n, in := range asked {
		token := []string{"", "1", "2"}[n]
		if len(in.InstanceIds) != 0 || aws.ToString(in.NextToken) != token || len(in.Filters) != 1 ||
			*in.Filters[0].Name != "instance-id" || len(in.Filters[0].Values) != 4 {
			t.Errorf("question %d: %+v", n, in)
		}
	}
	if _, err := describe(t.Context(), []string{"i-1"}); err == nil {
		t.Error("no error")
	}
}
