package cloud_test

import (
	"encoding/base64"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"rekindle/test/cloud"
)

func where(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// found are the ids of the instances that DescribeInstances returns, over all pages.
func found(t *testing.T, c *ec2.Client, in *ec2.DescribeInstancesInput) []string {
	t.Helper()
	ids := []string{}
	for p := ec2.NewDescribeInstancesPaginator(c, in); p.HasMorePages(); {
		out := must[*ec2.DescribeInstancesOutput](t)(p.NextPage(t.Context()))
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				ids = append(ids, aws.ToString(i.InstanceId))
			}
		}
	}
	return ids
}

// described are the tags of a resource that DescribeTags returns, over all pages.
func described(t *testing.T, c *ec2.Client, id string) map[string]string {
	t.Helper()
	tags := map[string]string{}
	in := &ec2.DescribeTagsInput{Filters: []types.Filter{where("resource-id", id)}}
	for p := ec2.NewDescribeTagsPaginator(c, in); p.HasMorePages(); {
		for _, tag := range must[*ec2.DescribeTagsOutput](t)(p.NextPage(t.Context())).Tags {
			tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
		}
	}
	return tags
}

func TestDescribeInstances(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	c := r.ec2()
	var all []string
	for n := range 12 {
		tags := map[string]string{"rekindle:cluster": "a", "rekindle:role": "minion"}
		if n%4 == 0 {
			tags["rekindle:role"] = "master"
		}
		all = append(all, r.launch(t, cloud.InstanceSpec{Tags: tags, Role: "r"}).ID)
	}
	r.Terminate(all[8])
	address := r.Instance(all[5]).PrivateIP.String()
	for name, test := range map[string]struct {
		in   ec2.DescribeInstancesInput
		want []string
	}{
		"all":      {ec2.DescribeInstancesInput{}, all},
		"pages":    {ec2.DescribeInstancesInput{MaxResults: aws.Int32(5)}, all},
		"ids":      {ec2.DescribeInstancesInput{InstanceIds: all[2:4]}, all[2:4]},
		"tag":      {ec2.DescribeInstancesInput{Filters: []types.Filter{where("tag:rekindle:role", "master")}}, []string{all[0], all[4], all[8]}},
		"and":      {ec2.DescribeInstancesInput{Filters: []types.Filter{where("tag:rekindle:role", "master"), where("instance-state-name", "pending", "running")}}, []string{all[0], all[4]}},
		"wildcard": {ec2.DescribeInstancesInput{Filters: []types.Filter{where("tag:rekindle:role", "m?st*")}}, []string{all[0], all[4], all[8]}},
		"tag-key":  {ec2.DescribeInstancesInput{Filters: []types.Filter{where("tag-key", "other")}}, []string{}},
		"address":  {ec2.DescribeInstancesInput{Filters: []types.Filter{where("private-ip-address", address)}}, all[5:6]},
		"id":       {ec2.DescribeInstancesInput{Filters: []types.Filter{where("instance-id", all[1], all[3])}}, []string{all[1], all[3]}},
	} {
		if diff := cmp.Diff(test.want, found(t, c, &test.in)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for code, in := range map[string]*ec2.DescribeInstancesInput{
		"InvalidInstanceID.NotFound":  {InstanceIds: []string{"i-0123456789abcdef0"}},
		"InvalidInstanceID.Malformed": {InstanceIds: []string{"x"}},
		"InvalidParameterValue":       {Filters: []types.Filter{where("colour", "red")}},
		"InvalidParameterCombination": {InstanceIds: all[:1], MaxResults: aws.Int32(5)},
	} {
		_, err := c.DescribeInstances(t.Context(), in)
		wantCode(t, err, code)
	}
	_, err := c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{MaxResults: aws.Int32(4)})
	wantCode(t, err, "InvalidParameterValue")
}

func TestDescribedInstance(t *testing.T) {
	subnet := cloud.Subnet{ID: "subnet-1", Zone: "cn-north-1b", CIDR: netip.MustParsePrefix("127.0.20.0/24"), CIDR6: netip.MustParsePrefix("2001:db8::/64")}
	r := newRegion(t, cloud.Options{Subnets: []cloud.Subnet{subnet}})
	i := r.launch(t, cloud.InstanceSpec{Role: "masters", Spot: true, PublicIP: netip.MustParseAddr("203.0.113.7"), Tags: map[string]string{"a/b": "c"}})
	out := must[*ec2.DescribeInstancesOutput](t)(r.ec2().DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{i.ID}}))
	x := out.Reservations[0].Instances[0]
	got := []string{
		aws.ToString(x.PrivateIpAddress), aws.ToString(x.PrivateDnsName), aws.ToString(x.PublicIpAddress), aws.ToString(x.PublicDnsName),
		aws.ToString(x.Placement.AvailabilityZone), aws.ToString(x.SubnetId), aws.ToString(x.IamInstanceProfile.Arn),
		string(x.State.Name), string(x.InstanceLifecycle), string(x.MetadataOptions.HttpTokens), aws.ToString(x.Tags[0].Key),
		aws.ToString(x.NetworkInterfaces[0].Ipv6Addresses[0].Ipv6Address), aws.ToTime(x.LaunchTime).Format(time.RFC3339),
	}
	want := []string{
		"127.0.20.4", "ip-127-0-20-4.cn-north-1.compute.internal", "203.0.113.7", "ec2-203-0-113-7.cn-north-1.compute.amazonaws.com.cn",
		"cn-north-1b", "subnet-1", "arn:aws-cn:iam::123456789012:instance-profile/masters",
		"running", "spot", "required", "a/b", "2001:db8::7f00:1404", "2026-11-20T12:00:00Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	interfaces := must[*ec2.DescribeNetworkInterfacesOutput](t)(r.ec2().DescribeNetworkInterfaces(t.Context(),
		&ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{where("attachment.instance-id", i.ID)}}))
	equal(t, "interface", aws.ToString(interfaces.NetworkInterfaces[0].MacAddress), i.MAC)
}

func TestTags(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	c := r.ec2()
	i := r.launch(t, cloud.InstanceSpec{Tags: map[string]string{"a": "1", "b": "2"}})
	r.launch(t, cloud.InstanceSpec{Tags: map[string]string{"a": "9"}})
	tag := func(k, v string) types.Tag { return types.Tag{Key: aws.String(k), Value: aws.String(v)} }
	_, err := c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{i.ID}, Tags: []types.Tag{tag("c/d", "3"), tag("b", "4")}})
	check(t, err)
	_, err = c.DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{i.ID}, Tags: []types.Tag{{Key: aws.String("a")}, tag("b", "other")}})
	check(t, err)
	if diff := cmp.Diff(map[string]string{"b": "4", "c/d": "3"}, described(t, c, i.ID)); diff != "" {
		t.Error(diff)
	}
	_, err = c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{"i-0123"}, Tags: []types.Tag{tag("b", "4")}})
	wantCode(t, err, "InvalidInstanceID.NotFound")
	_, err = c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{i.ID}, Tags: []types.Tag{tag("aws:x", "4")}})
	wantCode(t, err, "InvalidParameterValue")

	many := map[string]string{}
	for _, letter := range strings.Split("abcdefghijkl", "") {
		many[letter] = letter
	}
	j := r.launch(t, cloud.InstanceSpec{Tags: many})
	r.Faults().Add(cloud.Fault{Action: "DescribeTags", Do: cloud.PageSize(5)})
	if diff := cmp.Diff(many, described(t, c, j.ID)); diff != "" {
		t.Error(diff)
	}
	equal(t, "pages", r.Counts()[cloud.Counter{Service: "ec2", Action: "DescribeTags"}], 4)
}

func TestRunAndTerminate(t *testing.T) {
	r := newRegion(t, cloud.Options{ShutdownTime: time.Minute})
	c := r.ec2()
	run := func(tag string) (*ec2.RunInstancesOutput, error) {
		return c.RunInstances(t.Context(), &ec2.RunInstancesInput{
			MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: "t3.medium", ImageId: aws.String("ami-1"),
			UserData: aws.String(base64.StdEncoding.EncodeToString([]byte("role: minion"))),
			TagSpecifications: []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{
				{Key: aws.String(tag), Value: aws.String("x")},
			}}},
			MetadataOptions: &types.InstanceMetadataOptionsRequest{InstanceMetadataTags: "enabled"},
		})
	}
	_, err := run("kubernetes.io/cluster/x")
	wantCode(t, err, "InvalidParameterValue")
	id := aws.ToString(must[*ec2.RunInstancesOutput](t)(run("rekindle:role")).Instances[0].InstanceId)
	i := r.Instance(id)
	equal(t, "user-data", string(i.UserData), "role: minion")
	equal(t, "type", i.Type, "t3.medium")

	_, err = c.ModifyInstanceAttribute(t.Context(), &ec2.ModifyInstanceAttributeInput{
		InstanceId: aws.String(id), SourceDestCheck: &types.AttributeBooleanValue{Value: aws.Bool(false)},
	})
	check(t, err)
	equal(t, "source/dest check", i.SourceDestCheck(), false)

	out := must[*ec2.TerminateInstancesOutput](t)(c.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}))
	equal(t, "state", out.TerminatingInstances[0].CurrentState.Name, types.InstanceStateNameShuttingDown)
	equal(t, "state", i.State(), "shutting-down")
	r.clock.advance(time.Minute)
	equal(t, "state", i.State(), "terminated")
	r.clock.advance(time.Hour)
	_, err = c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	wantCode(t, err, "InvalidInstanceID.NotFound")
}

func TestVolumes(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	c := r.ec2()
	var events []string
	r.Subscribe(cloud.Subscriber{
		OnAttach: func(_ *cloud.Instance, v cloud.Volume) { events = append(events, "attach "+v.Device) },
		OnDetach: func(_ *cloud.Instance, v cloud.Volume) { events = append(events, "detach "+v.Device) },
	})
	i, j := r.launch(t, cloud.InstanceSpec{}), r.launch(t, cloud.InstanceSpec{Zone: "cn-north-1b"})
	v := r.CreateVolume(cloud.Volume{SizeGiB: 20, Tags: map[string]string{"rekindle:etcd": "main"}})
	attach := func(id string) error {
		_, err := c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: aws.String(v.ID), InstanceId: aws.String(id), Device: aws.String("/dev/xvdf")})
		return err
	}
	wantCode(t, attach(j.ID), "InvalidVolume.ZoneMismatch")
	check(t, attach(i.ID))
	wantCode(t, attach(i.ID), "VolumeInUse")
	out := must[*ec2.DescribeVolumesOutput](t)(c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: []types.Filter{
		where("tag:rekindle:etcd", "main"), where("attachment.instance-id", i.ID),
	}}))
	equal(t, "attachment", aws.ToString(out.Volumes[0].Attachments[0].Device), "/dev/xvdf")
	_, err := c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: aws.String(v.ID)})
	check(t, err)
	_, err = c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: aws.String(v.ID)})
	wantCode(t, err, "IncorrectState")
	_, err = c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{"vol-1"}})
	wantCode(t, err, "InvalidVolume.NotFound")
	check(t, attach(i.ID))
	r.Terminate(i.ID)
	wantCode(t, attach(i.ID), "IncorrectState")
	now, _ := r.Volume(v.ID)
	equal(t, "the volume of a dead instance is free", now.Instance, "")
	r.Settle()
	if diff := cmp.Diff([]string{"attach /dev/xvdf", "detach /dev/xvdf", "attach /dev/xvdf", "detach /dev/xvdf"}, events); diff != "" {
		t.Error(diff)
	}
}

func TestAddresses(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	c := r.ec2()
	i, j := r.launch(t, cloud.InstanceSpec{}), r.launch(t, cloud.InstanceSpec{})
	e := r.AllocateAddress(cloud.Address{PublicIP: netip.MustParseAddr("203.0.113.50"), Tags: map[string]string{"rekindle:cluster": "a"}})
	associate := func(id string, again bool) (*ec2.AssociateAddressOutput, error) {
		return c.AssociateAddress(t.Context(), &ec2.AssociateAddressInput{
			AllocationId: aws.String(e.AllocationID), InstanceId: aws.String(id), AllowReassociation: aws.Bool(again),
		})
	}
	must[*ec2.AssociateAddressOutput](t)(associate(i.ID, false))
	equal(t, "in IMDS", metadata(t, r.imds(t, i.ID), "public-ipv4"), "203.0.113.50")
	_, err := associate(j.ID, false)
	wantCode(t, err, "Resource.AlreadyAssociated")
	must[*ec2.AssociateAddressOutput](t)(associate(j.ID, true))
	equal(t, "moved away", i.PublicIP().IsValid(), false)
	out := must[*ec2.DescribeAddressesOutput](t)(c.DescribeAddresses(t.Context(), &ec2.DescribeAddressesInput{Filters: []types.Filter{where("tag:rekindle:cluster", "a")}}))
	equal(t, "instance", aws.ToString(out.Addresses[0].InstanceId), j.ID)
	_, err = c.DisassociateAddress(t.Context(), &ec2.DisassociateAddressInput{AssociationId: out.Addresses[0].AssociationId})
	check(t, err)
	_, err = c.DisassociateAddress(t.Context(), &ec2.DisassociateAddressInput{AssociationId: out.Addresses[0].AssociationId})
	wantCode(t, err, "InvalidAssociationID.NotFound")
}

func TestCatalogue(t *testing.T) {
	r := newRegion(t, cloud.Options{Region: "us-gov-west-1"})
	c := r.ec2()
	out := must[*ec2.DescribeInstanceTypesOutput](t)(c.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m5.large"}}))
	m5 := out.InstanceTypes[0]
	equal(t, "memory", aws.ToInt64(m5.MemoryInfo.SizeInMiB), 8192)
	equal(t, "interfaces", aws.ToInt32(m5.NetworkInfo.MaximumNetworkInterfaces), 3)
	equal(t, "addresses", aws.ToInt32(m5.NetworkInfo.Ipv4AddressesPerInterface), 10)
	equal(t, "architecture", m5.ProcessorInfo.SupportedArchitectures[0], types.ArchitectureTypeX8664)
	_, err := c.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"z9.tiny"}})
	wantCode(t, err, "InvalidInstanceType")
	regions := must[*ec2.DescribeRegionsOutput](t)(c.DescribeRegions(t.Context(), nil))
	equal(t, "region", aws.ToString(regions.Regions[0].Endpoint), "ec2.us-gov-west-1.amazonaws.com")
	zones := must[*ec2.DescribeAvailabilityZonesOutput](t)(c.DescribeAvailabilityZones(t.Context(), nil))
	equal(t, "zone", aws.ToString(zones.AvailabilityZones[2].ZoneId), "usgw1-az3")
	_, err = c.DescribeVpcs(t.Context(), nil)
	wantCode(t, err, "InvalidAction")
}

func TestAddressesOfSubnet(t *testing.T) {
	r := newRegion(t, cloud.Options{Subnets: []cloud.Subnet{{CIDR: netip.MustParsePrefix("10.0.0.0/29")}}})
	got := map[string]bool{}
	for range 3 {
		got[r.launch(t, cloud.InstanceSpec{}).PrivateIP.String()] = true
	}
	if diff := cmp.Diff([]string{"10.0.0.4", "10.0.0.5", "10.0.0.6"}, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Error(diff)
	}
	_, err := r.Launch(cloud.InstanceSpec{})
	wantRefusal(t, err, "InsufficientFreeAddressesInSubnet")
	_, err = r.Launch(cloud.InstanceSpec{UserData: make([]byte, 16385)})
	wantRefusal(t, err, "InvalidParameterValue")
}
