package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip"
)

const (
	stormWindow = time.Second // within which all nodes of a storm start
	limit       = 10 * time.Minute
)

// sample is what was measured of one cluster. Slices have one value a node, sorted.
type sample struct {
	nodes     int
	stormy    bool // begin with a storm of joins
	stormOnly bool // and end with it
	verbose   bool

	stormMasters, stormAll []time.Duration // from a node's start until it knows all masters; all nodes
	newMaster              []time.Duration // from a new master's start until a node knows it
	dead                   []time.Duration // from a master's end until a node counts it no more
	rebuilt                []time.Duration // from a master's end and another's start, until a node knows both
	stormBytes             float64         // of a node, in the storm's first minute
	idleBytes              float64         // of a node and second
	idleCPU                float64         // of a node, in percent of one CPU
	memory                 float64         // of a node, bytes
}

// measure runs one cluster through its life.
func (s *sample) measure(idle time.Duration) (err error) {
	ctx := context.Background()
	debug.SetGCPercent(400) // memory is there to be used; what counts is measured after a collection
	debug.SetMemoryLimit(machine() * 9 / 10)
	before := memory()
	c := newNodes()
	defer func() { err = errors.Join(err, c.stop()) }()
	for range masters {
		if _, err := c.start(ctx, true); err != nil {
			return err
		}
	}
	time.Sleep(time.Second)
	form := s.calm
	if s.stormy {
		form = s.storm
	}
	if err := form(ctx, c); err != nil || s.stormOnly {
		return err
	}
	if err := quiet(c, !s.stormy); err != nil {
		return err
	}
	s.memory = float64(memory()-before) / float64(len(c.all))
	s.tell("together")

	sent, worked := c.bytes(), cpu()
	time.Sleep(idle)
	share := float64(len(c.all)) * idle.Seconds()
	s.idleBytes = float64(c.bytes()-sent) / share
	s.idleCPU = 100 * (cpu() - worked).Seconds() / share
	s.tell("idle measured")

	began := time.Now()
	added, err := c.start(ctx, true)
	if err != nil {
		return err
	}
	s.newMaster, err = s.until(ctx, c, began, func(n *node) bool { return n.state(added.name) == discovery.Alive })
	if err != nil {
		return fmt.Errorf("new master: %w", err)
	}
	s.tell("new master known")

	began = time.Now()
	if err := c.kill(added); err != nil {
		return err
	}
	s.dead, err = s.until(ctx, c, began, func(n *node) bool { return n.state(added.name) == discovery.Dead })
	if err != nil {
		return fmt.Errorf("killed master: %w", err)
	}
	s.tell("killed master gone")

	began = time.Now()
	lost := c.all[1]
	if err := c.kill(lost); err != nil {
		return err
	}
	if added, err = c.start(ctx, true); err != nil {
		return err
	}
	s.rebuilt, err = s.until(ctx, c, began, func(n *node) bool {
		return n.state(added.name) == discovery.Alive && n.state(lost.name) == discovery.Dead
	})
	if err != nil {
		return fmt.Errorf("rebuilt master: %w", err)
	}
	s.tell("rebuilt master known")
	return nil
}

// machine is the memory of this machine, in bytes.
func machine() int64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 12 << 30
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// storm starts all but the masters within stormWindow.
func (s *sample) storm(ctx context.Context, c *nodes) error {
	began := time.Now()
	starts := make([]time.Duration, s.nodes-masters)
	for i := range starts {
		starts[i] = rand.N(stormWindow)
	}
	slices.Sort(starts)
	for _, at := range starts {
		time.Sleep(at - time.Since(began))
		if _, err := c.start(ctx, false); err != nil {
			return err
		}
	}
	// Looking at 3,000 nodes takes as long as what they do: the more there are, the less often.
	every := 100 * time.Millisecond * time.Duration(1+s.nodes/250)
	unaware, partial := slices.Clone(c.all), slices.Clone(c.all)
	for told := began; len(unaware)+len(partial) > 0; {
		if ctx.Err() != nil || time.Since(began) > limit {
			return fmt.Errorf("join storm: after %v %d nodes miss masters, %d miss nodes", limit, len(unaware), len(partial))
		}
		time.Sleep(every)
		unaware = slices.DeleteFunc(unaware, func(n *node) bool {
			return reached(&s.stormMasters, n, n.masters() == masters)
		})
		partial = slices.DeleteFunc(partial, func(n *node) bool {
			return reached(&s.stormAll, n, n.Living() == s.nodes)
		})
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			s.say(fmt.Sprintf("%.0f s into the storm, %d miss masters and %d nodes", time.Since(began).Seconds(), len(unaware), len(partial)))
		}
	}
	time.Sleep(time.Minute - time.Since(began))
	s.stormBytes = float64(c.bytes()) / float64(len(c.all))
	slices.Sort(s.stormMasters)
	slices.Sort(s.stormAll)
	return nil
}

// calm has all but the masters join one of these, one after the other, and then once more, when it knows everybody. News is
// lost meanwhile, or each node would still hear a dozen times of each other one.
func (s *sample) calm(ctx context.Context, c *nodes) error {
	first := []gossip.Seed{{At: address(1), Through: "static"}}
	c.network.Lose(news)
	c.seeds = nil
	for range s.nodes - masters {
		n, err := c.start(ctx, false)
		if err != nil {
			return err
		}
		if _, err := n.Join(ctx, first); err != nil {
			return err
		}
	}
	c.seeds = seeds
	time.Sleep(time.Second) // who is joined answers first, and then takes over what it heard
	for _, n := range c.all[1:] {
		if _, err := n.Join(ctx, first); err != nil {
			return err
		}
		if n.Living() != s.nodes {
			return fmt.Errorf("%s knows %d nodes, not %d", n.name, n.Living(), s.nodes)
		}
	}
	return nil
}

// news tells packets with news from probes and their answers, which are shorter.
func news(data []byte) bool { return len(data) > 320 }

// quiet waits until nobody has news to pass on. They are lost meanwhile, or arrive.
func quiet(c *nodes, lost bool) error {
	defer c.network.Lose(nil)
	for began := time.Now(); time.Since(began) < time.Hour; {
		var heard atomic.Uint64
		c.network.Lose(func(data []byte) bool {
			if !news(data) {
				return false
			}
			heard.Add(1)
			return lost
		})
		time.Sleep(10 * time.Second)
		if heard.Load() == 0 {
			return nil
		}
	}
	return errors.New("after an hour there still is news")
}

// reached notes how long a node took, when it is there.
func reached(to *[]time.Duration, n *node, there bool) bool {
	if there {
		*to = append(*to, time.Since(n.began))
	}
	return there
}

// until asks each node whenever it heard something, until it agrees, and returns when each did.
func (s *sample) until(ctx context.Context, c *nodes, began time.Time, is func(*node) bool) ([]time.Duration, error) {
	took := make(chan time.Duration, len(c.all))
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, n := range c.all {
		go func() {
			for !is(n) {
				select {
				case <-n.Changed():
				case <-ctx.Done():
					took <- limit
					return
				}
			}
			took <- time.Since(began)
		}()
	}
	var all []time.Duration
	for range c.all {
		all = append(all, <-took)
	}
	slices.Sort(all)
	if all[len(all)-1] >= limit {
		return nil, fmt.Errorf("not everywhere after %v", limit)
	}
	return all, nil
}

// memory is what is in use.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// cpu is the time that this process has computed.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// say tells what has been done, to who wants to see it.
func (s *sample) say(what string) {
	if s.verbose {
		fmt.Fprintf(os.Stderr, "%d nodes: %s, after %v of CPU\n", s.nodes, what, cpu().Round(time.Second))
	}
}

// tell is say, with the numbers so far.
func (s *sample) tell(what string) {
	s.say(what)
	if s.verbose {
		report(os.Stderr, s)
	}
}
