package cloud

import (
	"maps"
	"slices"
	"time"
)

// launchRetry is how long a group rests after a launch that failed.
const launchRetry = 30 * time.Second

// reconcileGroups brings every group closer to its desired count.
func (c *Cloud) reconcileGroups() {
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		c.expireWaits(g)
		c.dropDead(g)
		if !g.suspended["ReplaceUnhealthy"] {
			for _, m := range slices.Clone(g.members) {
				// One that does not run fails EC2's status check.
				if (m.health == "Unhealthy" || !m.alive()) && !m.leaving() {
					c.leave(g, m)
				}
			}
		}
		c.scale(g)
	}
}

// dropDead removes members that EC2 says are gone.
func (c *Cloud) dropDead(g *group) {
	g.members = slices.DeleteFunc(g.members, func(m *member) bool {
		if !m.gone() {
			return false
		}
		g.record(c.now(), "Terminating EC2 instance: "+m.ID, nil)
		if g.ReplaceDelay > 0 {
			g.notBefore = c.now().Add(g.ReplaceDelay)
		}
		return true
	})
}

func (c *Cloud) scale(g *group) {
	staying := slices.DeleteFunc(slices.Clone(g.members), (*member).leaving)
	for n := len(staying); n > g.Desired && !g.suspended["Terminate"]; n-- {
		// AWS picks from the fullest zone; the oldest goes.
		victim := slices.MinFunc(staying, func(a, b *member) int { return g.count(b.SubnetID) - g.count(a.SubnetID) })
		staying = slices.DeleteFunc(staying, func(m *member) bool { return m == victim })
		c.leave(g, victim)
	}
	for n := len(staying); n < g.Desired && !g.suspended["Launch"] && !c.now().Before(g.notBefore); n++ {
		if err := c.enter(g); err != nil {
			g.notBefore = c.now().Add(launchRetry)
			return
		}
	}
}

// enter launches one instance into the subnet that has the fewest.
func (c *Cloud) enter(g *group) error {
	spec := g.Template
	spec.Tags = maps.Clone(spec.Tags)
	if spec.Tags == nil {
		spec.Tags = map[string]string{}
	}
	maps.Copy(spec.Tags, g.Tags)
	subnets := g.Subnets
	if len(subnets) == 0 {
		for _, s := range c.subnets {
			subnets = append(subnets, s.ID)
		}
	}
	spec.SubnetID = slices.MinFunc(subnets, func(a, b string) int { return g.count(a) - g.count(b) })
	i, err := c.launch(spec, g.Name)
	g.record(c.now(), "Launching a new EC2 instance", err)
	if err != nil {
		c.log.Warn("launch failed", "group", g.Name, "error", err)
		return err
	}
	m := &member{Instance: i, lifecycle: "InService", health: "Healthy"}
	if m.waits = c.begin(g, Launching); len(m.waits) > 0 {
		m.lifecycle = "Pending:Wait"
	}
	g.members = append(g.members, m)
	return nil
}

// leave starts the end of a member: at once, or once its hooks are done.
func (c *Cloud) leave(g *group, m *member) {
	if m.waits = c.begin(g, Terminating); len(m.waits) > 0 {
		m.lifecycle = "Terminating:Wait"
		return
	}
	c.end(g, m)
}

func (c *Cloud) end(g *group, m *member) {
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	g.record(c.now(), "Terminating EC2 instance: "+m.ID, nil)
	c.terminate(m.Instance)
}

func (g *group) count(subnet string) int {
	n := 0
	for _, m := range g.members {
		if m.SubnetID == subnet && !m.leaving() {
			n++
		}
	}
	return n
}

func (g *group) record(now time.Time, what string, err error) {
	a := Activity{Time: now, Description: what, Status: "Successful"}
	if err != nil {
		a.Status, a.Message = "Failed", err.Error()
	}
	g.activities = append(g.activities, a)
}
