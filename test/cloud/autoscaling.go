package cloud

import (
	"maps"
	"slices"
	"strings"
)

var autoscalingOperations = map[string]operation{
	"CompleteLifecycleAction":             completeLifecycleAction,
	"DescribeAutoScalingGroups":           describeAutoScalingGroups,
	"DescribeAutoScalingInstances":        describeAutoScalingInstances,
	"DescribeLifecycleHooks":              describeLifecycleHooks,
	"DescribeScalingActivities":           describeScalingActivities,
	"RecordLifecycleActionHeartbeat":      recordLifecycleActionHeartbeat,
	"SetDesiredCapacity":                  setDesiredCapacity,
	"SetInstanceHealth":                   setInstanceHealth,
	"TerminateInstanceInAutoScalingGroup": terminateInAutoScalingGroup,
}

type xmlMember struct {
	InstanceID string `xml:"InstanceId"`
	Type       string `xml:"InstanceType"`
	Zone       string `xml:"AvailabilityZone"`
	State      string `xml:"LifecycleState"`
	Health     string `xml:"HealthStatus"`
	Protected  bool   `xml:"ProtectedFromScaleIn"`
	Group      string `xml:"AutoScalingGroupName,omitempty"`
}

type xmlGroupTag struct {
	Key        string
	Value      string
	Propagate  bool   `xml:"PropagateAtLaunch"`
	ResourceID string `xml:"ResourceId"`
	Type       string `xml:"ResourceType"`
}

type xmlAutoScalingGroup struct {
	Name        string        `xml:"AutoScalingGroupName"`
	ARN         string        `xml:"AutoScalingGroupARN"`
	Min         int           `xml:"MinSize"`
	Max         int           `xml:"MaxSize"`
	Desired     int           `xml:"DesiredCapacity"`
	HealthCheck string        `xml:"HealthCheckType"`
	Cooldown    int           `xml:"DefaultCooldown"`
	Created     string        `xml:"CreatedTime"`
	Zones       []string      `xml:"AvailabilityZones>member"`
	Subnets     string        `xml:"VPCZoneIdentifier"`
	Members     []xmlMember   `xml:"Instances>member"`
	Tags        []xmlGroupTag `xml:"Tags>member"`
}

// groupPage is page with Auto Scaling's limits.
func groupPage[T any](a *call, items []T, limit int) ([]T, string, error) {
	size, err := a.form.integer("MaxRecords", 50)
	if err != nil {
		return nil, "", err
	}
	if size < 1 || size > limit {
		return nil, "", validation("The number of records %d is not between 1 and %d.", size, limit)
	}
	return page(a, items, size, a.form.get("NextToken"))
}

func (a *call) describeGroup(g *group) xmlAutoScalingGroup {
	subnets := g.Subnets
	zones := map[string]bool{}
	for _, s := range a.subnets {
		if len(g.Subnets) == 0 || slices.Contains(g.Subnets, s.ID) {
			zones[s.Zone] = true
		}
		if len(g.Subnets) == 0 {
			subnets = append(subnets, s.ID)
		}
	}
	x := xmlAutoScalingGroup{
		Name: g.Name, Min: g.Min, Max: max(g.Max, g.Desired), Desired: g.Desired, HealthCheck: "EC2", Cooldown: 300,
		ARN:     a.arn("autoscaling", a.opts.Region, "autoScalingGroup:"+shortID("uuid", g.Name)+":autoScalingGroupName/"+g.Name),
		Created: timestamp(a.now()), Zones: slices.Sorted(maps.Keys(zones)), Subnets: strings.Join(subnets, ","),
	}
	for _, m := range g.members {
		x.Members = append(x.Members, xmlMember{m.ID, m.Type, m.Zone, m.lifecycle, m.health, false, ""})
	}
	for _, k := range slices.Sorted(maps.Keys(g.Tags)) {
		x.Tags = append(x.Tags, xmlGroupTag{k, g.Tags[k], true, g.Name, "auto-scaling-group"})
	}
	return x
}

func describeAutoScalingGroups(a *call) (any, error) {
	wanted := a.form.list("AutoScalingGroupNames.member")
	var all []xmlAutoScalingGroup
	for _, name := range slices.Sorted(maps.Keys(a.groups)) {
		g := a.groups[name]
		accepted := len(wanted) == 0 || slices.Contains(wanted, name)
		for _, f := range a.form.filters("Filters.member", "Values.member") {
			var have []string
			if key, isTag := cutTag(f.name); isTag {
				if v, found := g.Tags[key]; found {
					have = []string{v}
				}
			} else if f.name == "tag-key" {
				have = slices.Collect(maps.Keys(g.Tags))
			} else if f.name == "tag-value" {
				have = slices.Collect(maps.Values(g.Tags))
			} else {
				return nil, validation("Filter type %s is not correct. Allowed filter types are: tag-key tag-value tag:<key>", f.name)
			}
			accepted = accepted && f.matches(have...)
		}
		if accepted {
			all = append(all, a.describeGroup(g))
		}
	}
	items, next, err := groupPage(a, all, 100)
	return struct {
		Groups    []xmlAutoScalingGroup `xml:"AutoScalingGroups>member"`
		NextToken string                `xml:",omitempty"`
	}{items, next}, err
}

// describeAutoScalingInstances spells the health in capitals, unlike describeAutoScalingGroups; AWS does so.
func describeAutoScalingInstances(a *call) (any, error) {
	wanted := a.form.list("InstanceIds.member")
	var all []xmlMember
	for _, name := range slices.Sorted(maps.Keys(a.groups)) {
		for _, m := range a.groups[name].members {
			if len(wanted) == 0 || slices.Contains(wanted, m.ID) {
				all = append(all, xmlMember{m.ID, m.Type, m.Zone, m.lifecycle, strings.ToUpper(m.health), false, name})
			}
		}
	}
	items, next, err := groupPage(a, all, 50)
	return struct {
		Instances []xmlMember `xml:"AutoScalingInstances>member"`
		NextToken string      `xml:",omitempty"`
	}{items, next}, err
}

func setDesiredCapacity(a *call) (any, error) {
	n, err := a.form.integer("DesiredCapacity", 0)
	if err != nil {
		return nil, err
	}
	return struct{}{}, a.setDesired(a.form.get("AutoScalingGroupName"), n)
}

func setInstanceHealth(a *call) (any, error) {
	_, m := a.member(a.form.get("InstanceId"))
	health := a.form.get("HealthStatus")
	switch {
	case m == nil:
		return nil, validation("Instance Id not found - %s", a.form.get("InstanceId"))
	case health != "Healthy" && health != "Unhealthy":
		return nil, validation("Valid instance health states are: [Healthy, Unhealthy]")
	}
	m.health = health
	a.tick()
	return struct{}{}, nil
}
