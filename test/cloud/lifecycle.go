package cloud

import (
	"slices"
	"time"
)

// wait is a lifecycle action that nobody completed yet.
type wait struct {
	Hook
	token    string
	deadline time.Time // a heartbeat moves it
	limit    time.Time // no heartbeat moves it beyond
}

// maxWait bounds all heartbeats of one action together: 48 hours, or a hundred heartbeats if that is less.
const maxWait = 48 * time.Hour

func (c *Cloud) begin(g *group, transition string) []*wait {
	var all []*wait
	for _, h := range g.Hooks {
		if h.Transition == transition {
			now := c.now()
			all = append(all, &wait{h, c.id("token"), now.Add(h.Heartbeat), now.Add(min(maxWait, 100*h.Heartbeat))})
		}
	}
	return all
}

func (c *Cloud) expireWaits(g *group) {
	for _, m := range slices.Clone(g.members) {
		for _, w := range slices.Clone(m.waits) {
			if !c.now().Before(w.deadline) {
				c.complete(g, m, w, w.Default)
			}
		}
	}
}

// complete ends one wait. An instance that launches goes on when all waits continued and goes when one is abandoned;
// one that terminates goes when all are over, or one is abandoned.
func (c *Cloud) complete(g *group, m *member, w *wait, result string) {
	m.waits = slices.DeleteFunc(m.waits, func(o *wait) bool { return o == w })
	if result == "ABANDON" {
		m.waits = nil
	}
	switch {
	case len(m.waits) > 0:
	case m.leaving() || result == "ABANDON":
		c.end(g, m)
	default:
		m.lifecycle = "InService"
	}
}

// targetState is what IMDS says under autoscaling/target-lifecycle-state.
func (c *Cloud) targetState(i *Instance) string {
	_, m := c.member(i.ID)
	switch {
	case m == nil:
		return ""
	case m.leaving():
		return "Terminated"
	default:
		return "InService"
	}
}

// findWait finds the wait that a request is about, by token or by instance.
func (a *call) findWait() (*group, *member, *wait, error) {
	g := a.groups[a.form.get("AutoScalingGroupName")]
	if g == nil {
		return nil, nil, nil, validation("AutoScalingGroup name not found - null")
	}
	id, token, hook := a.form.get("InstanceId"), a.form.get("LifecycleActionToken"), a.form.get("LifecycleHookName")
	for _, m := range g.members {
		for _, w := range m.waits {
			if w.Name == hook && (id == "" || id == m.ID) && (token == "" || token == w.token) && id+token != "" {
				return g, m, w, nil
			}
		}
	}
	return nil, nil, nil, validation("No active Lifecycle Action found with instance ID %s", id)
}

func completeLifecycleAction(a *call) (any, error) {
	g, m, w, err := a.findWait()
	if err != nil {
		return nil, err
	}
	result := a.form.get("LifecycleActionResult")
	if result != "CONTINUE" && result != "ABANDON" {
		return nil, validation("Invalid value '%s' for LifecycleActionResult", result)
	}
	a.complete(g, m, w, result)
	a.tick()
	return struct{}{}, nil
}

func recordLifecycleActionHeartbeat(a *call) (any, error) {
	_, _, w, err := a.findWait()
	if err != nil {
		return nil, err
	}
	w.deadline = a.now().Add(w.Heartbeat)
	if w.deadline.After(w.limit) {
		w.deadline = w.limit
	}
	return struct{}{}, nil
}

func describeLifecycleHooks(a *call) (any, error) {
	type hook struct {
		Group      string `xml:"AutoScalingGroupName"`
		Name       string `xml:"LifecycleHookName"`
		Transition string `xml:"LifecycleTransition"`
		Default    string `xml:"DefaultResult"`
		Heartbeat  int    `xml:"HeartbeatTimeout"`
		Global     int    `xml:"GlobalTimeout"`
	}
	g := a.groups[a.form.get("AutoScalingGroupName")]
	if g == nil {
		return nil, validation("AutoScalingGroup name not found - null")
	}
	wanted := a.form.list("LifecycleHookNames.member")
	var out struct {
		Hooks []hook `xml:"LifecycleHooks>member"`
	}
	for _, h := range g.Hooks {
		if len(wanted) == 0 || slices.Contains(wanted, h.Name) {
			limit := min(maxWait, 100*h.Heartbeat)
			out.Hooks = append(out.Hooks, hook{
				g.Name, h.Name, h.Transition, h.Default, int(h.Heartbeat / time.Second), int(limit / time.Second),
			})
		}
	}
	return out, nil
}
