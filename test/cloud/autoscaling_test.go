package cloud_test

import (
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/google/go-cmp/cmp"

	"rekindle/test/cloud"
)

// states are the lifecycle states of a group's members, oldest first.
func (r *region) states(group string) []string {
	states := []string{}
	for _, m := range r.Group(group).Members {
		states = append(states, m.State)
	}
	return states
}

func wantStates(t *testing.T, r *region, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), r.states("masters")); diff != "" {
		t.Error(diff)
	}
}

func TestGroupKeepsItsSize(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	var mu sync.Mutex
	var events []string
	note := func(what string) func(*cloud.Instance) {
		return func(i *cloud.Instance) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, what+" "+i.Zone)
		}
	}
	r.Subscribe(cloud.Subscriber{OnLaunch: note("launch"), OnTerminate: note("terminate")})
	check(t, r.CreateGroup(cloud.GroupSpec{
		Name: "masters", Desired: 3, Max: 3, Template: cloud.InstanceSpec{Role: "masters", UserData: []byte("x")},
		Tags: map[string]string{"rekindle:role": "master"},
	}))
	second := r.Group("masters").Members[1].InstanceID
	r.Terminate(second)
	check(t, r.SetDesired("masters", 2))
	r.Settle()
	want := []string{
		"launch cn-north-1a", "launch cn-north-1b", "launch cn-north-1c",
		"terminate cn-north-1b", "launch cn-north-1b", "terminate cn-north-1a",
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Error(diff)
	}
	last := r.Instances()[3]
	equal(t, "user-data", string(last.UserData), "x")
	equal(t, "tag", last.Tags()["rekindle:role"], "master")
	equal(t, "tag", last.Tags()["aws:autoscaling:groupName"], "masters")
	wantRefusal(t, r.SetDesired("masters", 4), "ValidationError")
	r.DeleteGroup("masters")
	equal(t, "after the group", last.State(), "terminated")
}

func TestGroupReplacesLater(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	check(t, r.CreateGroup(cloud.GroupSpec{Name: "masters", Desired: 1, ReplaceDelay: time.Minute}))
	r.Terminate(r.Group("masters").Members[0].InstanceID)
	wantStates(t, r)
	r.clock.advance(time.Minute)
	wantStates(t, r, "InService")

	// A new size does not wait for what the group has yet to notice.
	r.Terminate(r.Group("masters").Members[0].InstanceID)
	wantStates(t, r)
	check(t, r.SetDesired("masters", 2))
	wantStates(t, r, "InService", "InService")
}

func TestGroupLaunchFails(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	check(t, r.CreateGroup(cloud.GroupSpec{
		Name: "masters", Desired: 1, Tags: map[string]string{"k8s.io/role/master": "1"},
		Template: cloud.InstanceSpec{Metadata: cloud.MetadataOptions{Tags: true}},
	}))
	wantStates(t, r)
	out := must[*autoscaling.DescribeScalingActivitiesOutput](t)(r.autoscaling().DescribeScalingActivities(t.Context(),
		&autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("masters")}))
	equal(t, "status", out.Activities[0].StatusCode, types.ScalingActivityStatusCodeFailed)
	r.SetTemplate("masters", cloud.InstanceSpec{})
	r.clock.advance(30 * time.Second)
	wantStates(t, r, "InService")
}

func TestLifecycleHooks(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	c := r.autoscaling()
	check(t, r.CreateGroup(cloud.GroupSpec{Name: "masters", Desired: 1, Hooks: []cloud.Hook{
		{Name: "up", Transition: cloud.Launching, Heartbeat: time.Minute},
		{Name: "down", Transition: cloud.Terminating, Heartbeat: time.Minute, Default: "CONTINUE"},
	}}))
	hooks := must[*autoscaling.DescribeLifecycleHooksOutput](t)(c.DescribeLifecycleHooks(t.Context(),
		&autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String("masters")}))
	equal(t, "hooks", len(hooks.LifecycleHooks), 2)
	complete := func(hook, id, result string) error {
		_, err := c.CompleteLifecycleAction(t.Context(), &autoscaling.CompleteLifecycleActionInput{
			AutoScalingGroupName: aws.String("masters"), LifecycleHookName: aws.String(hook),
			InstanceId: aws.String(id), LifecycleActionResult: aws.String(result),
		})
		return err
	}
	beat := func(hook, id string) error {
		_, err := c.RecordLifecycleActionHeartbeat(t.Context(), &autoscaling.RecordLifecycleActionHeartbeatInput{
			AutoScalingGroupName: aws.String("masters"), LifecycleHookName: aws.String(hook), InstanceId: aws.String(id),
		})
		return err
	}
	first := r.Instances()[0]
	wantStates(t, r, "Pending:Wait")
	equal(t, "target", metadata(t, r.imds(t, first.ID), "autoscaling/target-lifecycle-state"), "InService")

	// A heartbeat moves the deadline; without one the default, ABANDON, ends the instance and another comes.
	r.clock.advance(50 * time.Second)
	check(t, beat("up", first.ID))
	r.clock.advance(50 * time.Second)
	wantStates(t, r, "Pending:Wait")
	equal(t, "first", first.State(), "running")
	r.clock.advance(10 * time.Second)
	equal(t, "first", first.State(), "terminated")
	second := r.Instances()[1]
	check(t, complete("up", second.ID, "CONTINUE"))
	wantStates(t, r, "InService")
	wantCode(t, complete("up", second.ID, "CONTINUE"), "ValidationError")
	wantCode(t, beat("up", second.ID), "ValidationError")

	// A termination through the group waits; the replacement does not.
	_, err := c.TerminateInstanceInAutoScalingGroup(t.Context(), &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		InstanceId: aws.String(second.ID), ShouldDecrementDesiredCapacity: aws.Bool(false),
	})
	check(t, err)
	wantStates(t, r, "Terminating:Wait", "Pending:Wait")
	equal(t, "target", metadata(t, r.imds(t, second.ID), "autoscaling/target-lifecycle-state"), "Terminated")
	check(t, complete("down", second.ID, "CONTINUE"))
	equal(t, "second", second.State(), "terminated")

	third := r.Instances()[2]
	check(t, complete("up", third.ID, "ABANDON"))
	equal(t, "third", third.State(), "terminated")
	wantStates(t, r, "Pending:Wait")
}

// TestHeartbeatsEnd: a hundred heartbeats, or 48 hours, are all that an action gets.
func TestHeartbeatsEnd(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	check(t, r.CreateGroup(cloud.GroupSpec{Name: "masters", Desired: 1, Hooks: []cloud.Hook{
		{Name: "up", Transition: cloud.Launching, Heartbeat: time.Minute, Default: "CONTINUE"},
	}}))
	id := r.Group("masters").Members[0].InstanceID
	beats := 0
	for r.states("masters")[0] == "Pending:Wait" && beats < 1000 {
		_, err := r.autoscaling().RecordLifecycleActionHeartbeat(t.Context(), &autoscaling.RecordLifecycleActionHeartbeatInput{
			AutoScalingGroupName: aws.String("masters"), LifecycleHookName: aws.String("up"), InstanceId: aws.String(id),
		})
		check(t, err)
		beats++
		r.clock.advance(50 * time.Second)
	}
	equal(t, "heartbeats", beats, 120)
}

func TestAutoScalingAPI(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	c := r.autoscaling()
	for _, name := range []string{"a", "b", "masters"} {
		check(t, r.CreateGroup(cloud.GroupSpec{Name: name, Desired: 2, Max: 4, Tags: map[string]string{"cluster": name}}))
	}
	var names []string
	for p := autoscaling.NewDescribeAutoScalingGroupsPaginator(c, &autoscaling.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(2)}); p.HasMorePages(); {
		for _, g := range must[*autoscaling.DescribeAutoScalingGroupsOutput](t)(p.NextPage(t.Context())).AutoScalingGroups {
			names = append(names, aws.ToString(g.AutoScalingGroupName))
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "masters"}, names); diff != "" {
		t.Error(diff)
	}
	out := must[*autoscaling.DescribeAutoScalingGroupsOutput](t)(c.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{
		Filters: []types.Filter{{Name: aws.String("tag:cluster"), Values: []string{"masters"}}},
	}))
	g := out.AutoScalingGroups[0]
	id := g.Instances[0].InstanceId
	equal(t, "health", aws.ToString(g.Instances[0].HealthStatus), "Healthy")
	equal(t, "size", aws.ToInt32(g.MaxSize)*10+aws.ToInt32(g.DesiredCapacity), 42)
	instances := must[*autoscaling.DescribeAutoScalingInstancesOutput](t)(c.DescribeAutoScalingInstances(t.Context(),
		&autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{*id}}))
	equal(t, "group", aws.ToString(instances.AutoScalingInstances[0].AutoScalingGroupName), "masters")
	equal(t, "health", aws.ToString(instances.AutoScalingInstances[0].HealthStatus), "HEALTHY")

	r.Suspend("masters", "ReplaceUnhealthy")
	sick := &autoscaling.SetInstanceHealthInput{InstanceId: id, HealthStatus: aws.String("Unhealthy")}
	_, err := c.SetInstanceHealth(t.Context(), sick)
	check(t, err)
	equal(t, "while suspended", r.Instance(*id).State(), "running")
	r.Resume("masters", "ReplaceUnhealthy")
	equal(t, "unhealthy", r.Instance(*id).State(), "terminated")
	wantStates(t, r, "InService", "InService")
	_, err = c.SetInstanceHealth(t.Context(), sick)
	wantCode(t, err, "ValidationError")

	_, err = c.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("masters"), DesiredCapacity: aws.Int32(3)})
	check(t, err)
	wantStates(t, r, "InService", "InService", "InService")
	_, err = c.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("masters"), DesiredCapacity: aws.Int32(5)})
	wantCode(t, err, "ValidationError")
	_, err = r.imds(t, r.launch(t, cloud.InstanceSpec{}).ID).GetMetadata(t.Context(), &imds.GetMetadataInput{Path: "autoscaling/target-lifecycle-state"})
	wantStatus(t, err, 404)
}
