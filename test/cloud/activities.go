package cloud

import (
	"fmt"
	"slices"
)

type xmlActivity struct {
	ID          string `xml:"ActivityId"`
	Group       string `xml:"AutoScalingGroupName"`
	Description string
	Cause       string
	Start       string `xml:"StartTime"`
	Status      string `xml:"StatusCode"`
	Message     string `xml:"StatusMessage,omitempty"`
	Progress    int
}

// describeScalingActivities lists the newest first.
func describeScalingActivities(a *call) (any, error) {
	g := a.groups[a.form.get("AutoScalingGroupName")]
	if g == nil {
		return nil, validation("AutoScalingGroup name not found - no such group: %s", a.form.get("AutoScalingGroupName"))
	}
	var all []xmlActivity
	for n, v := range slices.Backward(g.activities) {
		all = append(all, xmlActivity{
			ID: fmt.Sprintf("%s-%d", shortID("activity", g.Name), n), Group: g.Name, Description: v.Description,
			Cause: "desired capacity", Start: timestamp(v.Time), Status: v.Status, Message: v.Message, Progress: 100,
		})
	}
	items, next, err := groupPage(a, all, 100)
	return struct {
		Activities []xmlActivity `xml:"Activities>member"`
		NextToken  string        `xml:",omitempty"`
	}{items, next}, err
}

// terminateInAutoScalingGroup goes through the terminating hooks, unlike EC2's TerminateInstances.
func terminateInAutoScalingGroup(a *call) (any, error) {
	id := a.form.get("InstanceId")
	g, m := a.member(id)
	if m == nil {
		return nil, validation("Instance Id not found - No managed instance found for instance ID: %s", id)
	}
	if a.form.get("ShouldDecrementDesiredCapacity") == "true" {
		if g.Desired-1 < g.Min {
			return nil, validation("Currently, desiredSize equals minSize (%d). Terminating instance without replacement "+
				"will violate group's min size constraint.", g.Min)
		}
		g.Desired--
	}
	if !m.leaving() {
		a.leave(g, m)
	}
	a.tick()
	return struct {
		Activity xmlActivity
	}{xmlActivity{
		ID: shortID("activity", id), Group: g.Name, Description: "Terminating EC2 instance: " + id,
		Cause: "user request", Start: timestamp(a.now()), Status: "InProgress",
	}}, nil
}
