package cloud

import (
	"maps"
	"slices"
	"time"
)

// Lifecycle transitions, for [Hook].
const (
	Launching   = "autoscaling:EC2_INSTANCE_LAUNCHING"
	Terminating = "autoscaling:EC2_INSTANCE_TERMINATING"
)

// GroupSpec is an Auto Scaling group with its launch template.
type GroupSpec struct {
	Name     string
	Desired  int
	Min, Max int // Max 0: no limit
	Template InstanceSpec
	Tags     map[string]string // propagated at launch
	Subnets  []string          // ids; default all. The one with the fewest members gets the next.
	Hooks    []Hook

	// ReplaceDelay is how long the group takes to notice that an instance is gone. Somebody must make time pass:
	// see [Cloud.Tick].
	ReplaceDelay time.Duration
}

// Hook is a lifecycle hook.
type Hook struct {
	Name       string
	Transition string        // Launching or Terminating
	Heartbeat  time.Duration // default one hour
	Default    string        // CONTINUE, or by default ABANDON
}

// Group is an Auto Scaling group as it is at one moment.
type Group struct {
	GroupSpec
	Members    []Member
	Activities []Activity
}

// Member is an instance of a group.
type Member struct {
	InstanceID, Zone string
	State            string // Pending:Wait, InService, Terminating:Wait
	Health           string // Healthy, Unhealthy
}

// Activity is a launch or termination that the group undertook.
type Activity struct {
	Time        time.Time
	Description string
	Status      string // Successful, Failed
	Message     string // of the failure
}

type group struct {
	GroupSpec
	members    []*member
	activities []Activity
	suspended  map[string]bool
	notBefore  time.Time // of the next launch
}

type member struct {
	*Instance
	lifecycle string
	health    string
	waits     []*wait
}

func (m *member) leaving() bool { return m.lifecycle == "Terminating:Wait" }

// CreateGroup makes a group and launches its instances.
func (c *Cloud) CreateGroup(spec GroupSpec) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.groups[spec.Name]; found || spec.Name == "" {
		return errorf(400, "AlreadyExists", "AutoScalingGroup by this name already exists - %s", spec.Name)
	}
	for _, id := range spec.Subnets {
		if _, err := c.subnet(id, ""); err != nil {
			return err
		}
	}
	spec.Hooks = slices.Clone(spec.Hooks)
	for i := range spec.Hooks {
		h := &spec.Hooks[i]
		if h.Heartbeat == 0 {
			h.Heartbeat = time.Hour
		}
		if h.Default == "" {
			h.Default = "ABANDON"
		}
	}
	c.groups[spec.Name] = &group{GroupSpec: spec, suspended: map[string]bool{}}
	c.tick()
	return nil
}

// DeleteGroup terminates the instances of a group, without hooks, and forgets it.
func (c *Cloud) DeleteGroup(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.groups[name]; g != nil {
		delete(c.groups, name)
		for _, m := range g.members {
			c.terminate(m.Instance)
		}
	}
}

// SetDesired changes how many instances a group keeps.
func (c *Cloud) SetDesired(name string, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setDesired(name, n)
}

func (c *Cloud) setDesired(name string, n int) error {
	g := c.groups[name]
	switch {
	case g == nil:
		return validation("AutoScalingGroup name not found - no such group: %s", name)
	case g.Max > 0 && n > g.Max:
		return validation("New SetDesiredCapacity value %d is above max value %d for the AutoScalingGroup.", n, g.Max)
	case n < g.Min:
		return validation("New SetDesiredCapacity value %d is below min value %d for the AutoScalingGroup.", n, g.Min)
	}
	g.Desired, g.notBefore = n, time.Time{}
	c.tick()
	return nil
}

// SetTemplate changes what later launches of a group look like.
func (c *Cloud) SetTemplate(name string, template InstanceSpec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.groups[name]; g != nil {
		g.Template = template
	}
}

// Suspend stops processes of a group: Launch, Terminate (of scaling in), ReplaceUnhealthy.
func (c *Cloud) Suspend(name string, processes ...string) { c.suspend(name, true, processes) }

// Resume undoes Suspend.
func (c *Cloud) Resume(name string, processes ...string) { c.suspend(name, false, processes) }

func (c *Cloud) suspend(name string, stop bool, processes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.groups[name]; g != nil {
		for _, p := range processes {
			g.suspended[p] = stop
		}
		c.tick()
	}
}

// Groups lists the groups by name.
func (c *Cloud) Groups() []Group {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick()
	var all []Group
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		s := Group{GroupSpec: g.GroupSpec, Activities: slices.Clone(g.activities)}
		for _, m := range g.members {
			s.Members = append(s.Members, Member{m.ID, m.Zone, m.lifecycle, m.health})
		}
		all = append(all, s)
	}
	return all
}

// Group returns one group; its Name is empty when there is none.
func (c *Cloud) Group(name string) Group {
	for _, g := range c.Groups() {
		if g.Name == name {
			return g
		}
	}
	return Group{}
}

func (c *Cloud) member(instanceID string) (*group, *member) {
	for _, g := range c.groups {
		for _, m := range g.members {
			if m.ID == instanceID {
				return g, m
			}
		}
	}
	return nil, nil
}

func validation(format string, args ...any) error {
	return errorf(400, "ValidationError", format, args...)
}
