package cloud_test

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"rekindle/test/cloud"
)

// state is what DescribeInstances says of one instance, and its address.
func state(t *testing.T, r *region, id string) (name, address string) {
	t.Helper()
	out := must[*ec2.DescribeInstancesOutput](t)(r.ec2().DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}}))
	i := out.Reservations[0].Instances[0]
	return string(i.State.Name), aws.ToString(i.PrivateIpAddress)
}

// TestReplacement is the end of a master in a group of its own zone, as those see it who ask EC2 whether it is gone.
func TestReplacement(t *testing.T) {
	r := newRegion(t, cloud.Options{ShutdownTime: time.Minute, ForgetAfter: 10 * time.Minute})
	subnets := r.Subnets()
	for _, s := range subnets {
		check(t, r.CreateGroup(cloud.GroupSpec{Name: s.Zone, Desired: 1, Subnets: []string{s.ID}}))
	}
	zone := subnets[1].Zone
	first := r.Instance(r.Group(zone).Members[0].InstanceID)
	equal(t, "zone", first.Zone, zone)
	r.Terminate(first.ID)
	second := r.Instance(r.Group(zone).Members[0].InstanceID)
	equal(t, "zone of the replacement", second.Zone, zone)
	if first.ID == second.ID || first.PrivateIP == second.PrivateIP {
		t.Errorf("%s at %s replaces %s at %s", second.ID, second.PrivateIP, first.ID, first.PrivateIP)
	}
	name, address := state(t, r, first.ID)
	equal(t, "at once", name, "shutting-down")
	equal(t, "address while it shuts down", address, first.PrivateIP.String())
	r.clock.advance(time.Minute)
	name, address = state(t, r, first.ID)
	equal(t, "after a minute", name, "terminated")
	equal(t, "address afterwards", address, "")
	both := &ec2.DescribeInstancesInput{InstanceIds: []string{first.ID, second.ID}}
	if diff := cmp.Diff([]string{first.ID, second.ID}, found(t, r.ec2(), both)); diff != "" {
		t.Error(diff)
	}

	// From now on the id is nobody's. Who asks for ids gets no answer about any; a filter finds those that are there.
	r.clock.advance(9 * time.Minute)
	_, err := r.ec2().DescribeInstances(t.Context(), both)
	wantCode(t, err, "InvalidInstanceID.NotFound")
	filtered := &ec2.DescribeInstancesInput{Filters: []types.Filter{where("instance-id", both.InstanceIds...)}}
	if diff := cmp.Diff([]string{second.ID}, found(t, r.ec2(), filtered)); diff != "" {
		t.Error(diff)
	}
}

// TestReplacementsOfAll: of a group over all zones every member is replaced in its zone, at another address.
func TestReplacementsOfAll(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	check(t, r.CreateGroup(cloud.GroupSpec{Name: "masters", Desired: 5, ReplaceDelay: time.Minute}))
	var before, zones, after []string
	for _, i := range r.Instances() {
		before, zones = append(before, i.PrivateIP.String()), append(zones, i.Zone)
	}
	for _, m := range r.Group("masters").Members {
		r.Terminate(m.InstanceID)
	}
	wantStates(t, r)
	r.clock.advance(time.Minute)
	var again []string
	for _, m := range r.Group("masters").Members {
		i := r.Instance(m.InstanceID)
		after, again = append(after, i.PrivateIP.String()), append(again, i.Zone)
	}
	if diff := cmp.Diff(zones, again); diff != "" {
		t.Error(diff)
	}
	for _, address := range after {
		if slices.Contains(before, address) {
			t.Errorf("%s is given away again at once", address)
		}
	}

	r.Suspend("masters", "Launch")
	r.Terminate(r.Group("masters").Members[0].InstanceID)
	r.clock.advance(time.Hour)
	equal(t, "members while launches are suspended", len(r.Group("masters").Members), 4)
	r.Resume("masters", "Launch")
	equal(t, "members", len(r.Group("masters").Members), 5)
}

// TestLateEnds: EC2's answer about an instance that ended can be old.
func TestLateEnds(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	i := r.launch(t, cloud.InstanceSpec{})
	r.Faults().Add(cloud.Fault{Service: "ec2", Action: "DescribeInstances", Do: cloud.LateEnds(time.Minute)})
	r.Terminate(i.ID)
	equal(t, "state", i.State(), "terminated")
	name, address := state(t, r, i.ID)
	equal(t, "state by DescribeInstances", name, "running")
	equal(t, "address", address, i.PrivateIP.String())
	r.clock.advance(time.Minute)
	name, _ = state(t, r, i.ID)
	equal(t, "a minute later", name, "terminated")
}

func TestStopAndStart(t *testing.T) {
	r := newRegion(t, cloud.Options{ShutdownTime: time.Minute})
	var events []string
	r.Subscribe(cloud.Subscriber{
		OnStop:      func(*cloud.Instance) { events = append(events, "stop") },
		OnStart:     func(*cloud.Instance) { events = append(events, "start") },
		OnTerminate: func(*cloud.Instance) { events = append(events, "terminate") },
	})
	check(t, r.CreateGroup(cloud.GroupSpec{Name: "masters", Desired: 1}))
	r.Suspend("masters", "ReplaceUnhealthy")
	i := r.Instance(r.Group("masters").Members[0].InstanceID)
	c := r.ec2()
	stopped := must[*ec2.StopInstancesOutput](t)(c.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{i.ID}}))
	equal(t, "answer", stopped.StoppingInstances[0].CurrentState.Name, types.InstanceStateNameStopping)
	wantRefusal(t, r.Start(i.ID), "IncorrectInstanceState")
	name, address := state(t, r, i.ID)
	equal(t, "at once", name, "stopping")
	r.clock.advance(time.Minute)
	name, _ = state(t, r, i.ID)
	equal(t, "after a minute", name, "stopped")
	equal(t, "address", address, i.PrivateIP.String())
	equal(t, "members", r.Group("masters").Members[0].InstanceID, i.ID)

	started := must[*ec2.StartInstancesOutput](t)(c.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: []string{i.ID}}))
	equal(t, "answer", started.StartingInstances[0].CurrentState.Name, types.InstanceStateNamePending)
	equal(t, "started", i.State(), "running")

	// A group takes one that does not run for sick.
	check(t, r.Stop(i.ID))
	r.Resume("masters", "ReplaceUnhealthy")
	if m := r.Group("masters").Members; len(m) != 1 || m[0].InstanceID == i.ID {
		t.Errorf("members: %v", m)
	}
	wantRefusal(t, r.Stop(i.ID), "IncorrectInstanceState")
	wantRefusal(t, r.Start("i-0123456789abcdef0"), "InvalidInstanceID.NotFound")
	r.Settle()
	if diff := cmp.Diff([]string{"stop", "start", "stop", "terminate"}, events); diff != "" {
		t.Error(diff)
	}
}
