package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
	"rekindle/test/lab/verify"
)

// scene is something that happens to a cluster that runs.
//
// To add one: an entry in scenes, and a method of stage.
type scene struct {
	name, title string
	masters     int // it begins with so many at most
	play        func(*stage, context.Context) error
	checks      string // the title of all checks after it; empty: it has its own
}

var scenes = []scene{
	{"one", "the only master dies, with its disk", 1, (*stage).one, ""},
	{"three", "two more masters; the leader dies; then all three at once", 3, (*stage).three, "checks, with three masters"},
}

func sceneNames() string {
	var names []string
	for _, s := range scenes {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

// choose returns the scenes that were asked for. All means those that the number of masters leaves possible.
func choose(names []string, masters int) ([]scene, error) {
	var chosen []scene
	for _, name := range names {
		if name == "none" && len(names) == 1 {
			return nil, nil
		}
		i := slices.IndexFunc(scenes, func(s scene) bool { return s.name == name })
		switch {
		case name == "all":
			for _, s := range scenes {
				if masters >= 1 && masters <= s.masters {
					chosen = append(chosen, s)
				}
			}
		case i < 0:
			return nil, fmt.Errorf("--scenes %s: there are %s, all and none", name, sceneNames())
		case masters < 1 || masters > scenes[i].masters:
			return nil, fmt.Errorf("--scenes %s begins with 1 to %d masters: give --masters", name, scenes[i].masters)
		case len(chosen) > 0 && chosen[len(chosen)-1].masters >= scenes[i].masters:
			return nil, fmt.Errorf("--scenes: name each scene once, in this order: %s", sceneNames())
		default:
			chosen = append(chosen, scenes[i])
		}
	}
	return chosen, nil
}

// stage is where scenes are played.
type stage struct {
	*screen
	region    *region.Region
	suite     *verify.Suite
	etcd      *keyspace.Cluster
	dir       string
	timelines []string
	losses    []loss
}

// loss is what came of one.
type loss struct {
	what          string
	served        time.Duration // until etcd served again
	before, after keyspace.State
	from, to      int // generations
}

// play plays the scenes, and sums up.
func play(ctx context.Context, s *stage, chosen []scene) error {
	for _, scene := range chosen {
		s.section(scene.title)
		if err := scene.play(s, ctx); err != nil {
			return fmt.Errorf("scene %s: %w", scene.name, err)
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	if err := s.peers(ctx); err != nil {
		return err
	}
	if last := chosen[len(chosen)-1]; last.checks != "" {
		s.suite.Requests = counts(s.region)
		s.section(last.checks)
		if err := s.suite.Run(ctx, s.check); err != nil {
			return err
		}
	}
	const row = "  %-22s %14s   %-31s %-17s %s"
	s.line("")
	s.line("%s", s.paint(bold, fmt.Sprintf(row, "WHAT DIED", "SERVED AFTER", "REVISION", "KEYS", "GENERATION")))
	for _, l := range s.losses {
		s.line(row, l.what, duration(l.served), count(l.before.Revision)+" → "+count(l.after.Revision),
			count(l.before.Keys)+" → "+count(l.after.Keys), fmt.Sprintf("%d → %d", l.from, l.to))
	}
	return nil
}

func (s *stage) masters() []*node.Node { return s.region.Members("master") }

// others are all nodes that are no masters.
func (s *stage) others() []*node.Node {
	return slices.DeleteFunc(s.region.Nodes(), func(n *node.Node) bool { return roleOf(s.region, n) == "master" })
}

// but are the masters without some.
func (s *stage) but(without []*node.Node) []*node.Node {
	return slices.DeleteFunc(s.masters(), func(n *node.Node) bool {
		return slices.ContainsFunc(without, func(w *node.Node) bool { return w.ID == n.ID })
	})
}

func ids(nodes []*node.Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.ID)
	}
	return all
}

// count writes a number with commas, for people.
func count[N int | int64](n N) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
