package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"rekindle/test/lab/node"
	"rekindle/test/lab/verify"
)

const (
	askEvery    = 100 * time.Millisecond // of each follower, and between two looks at its names
	followLimit = 10 * time.Second       // after the masters are ready
	// goOnLimit is how long a minion may be without an answer while other masters live.
	goOnLimit = 3 * time.Second
	// aims bounds how often a follower connects again to reach a master that is to die.
	aims = 100
)

// followers are the minions that have a proxy, while masters die and others come.
type followers struct {
	stage   *stage
	all     []*follower
	stopped context.CancelFunc
	work    sync.WaitGroup
}

// follow has the kubelet of each minion ask an API server who it is, over and over, until stop. It begins at a master that is
// to die.
func (s *stage) follow(ctx context.Context, dying []*node.Node) (*followers, error) {
	f := &followers{stage: s}
	for _, n := range s.region.Members("minion") {
		now, err := n.Status()
		if err != nil {
			return nil, err
		}
		if d := now.Discovery; d == nil || d.Proxy == nil || len(d.Proxy.Backends) == 0 {
			continue
		}
		m := &follower{node: n, cluster: now.Identity.Cluster, own: s.address(n), masters: s.addresses}
		if m.kubelet, err = verify.NewKubelet(n); err == nil {
			err = m.aim(ctx, dying)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.ID, err)
		}
		f.all = append(f.all, m)
	}
	ctx, f.stopped = context.WithCancel(ctx)
	for _, m := range f.all {
		f.work.Go(func() { m.every(ctx, m.ask) })
		f.work.Go(func() { m.every(ctx, m.look) })
	}
	return f, nil
}

// stop ends the asking. It may be called again.
func (f *followers) stop() {
	f.stopped()
	f.work.Wait()
	for _, m := range f.all {
		m.kubelet.Disconnect()
	}
}

// settle waits until every follower has an answer again and the right names, stops, and tells how that went since the kill.
func (f *followers) settle(ctx context.Context, killed time.Time) error {
	if len(f.all) == 0 {
		return nil
	}
	look := func() string {
		for _, m := range f.all {
			if err := m.wrong(killed); err != nil {
				return "a minion: " + firstLine(err.Error())
			}
		}
		return ""
	}
	return f.stage.during("names", look, func() (string, error) {
		ctx, cancel := context.WithTimeout(ctx, followLimit)
		defer cancel()
		since := time.Now()
		for err := f.wrong(since); err != nil; err = f.wrong(since) {
			select {
			case <-ctx.Done():
				return "", fmt.Errorf("%s after the masters were ready: %w", followLimit, err)
			case <-time.After(refresh):
			}
		}
		f.stop()
		stale, lacking := killed, killed
		for _, m := range f.all {
			stale, lacking = later(stale, m.stale), later(lacking, m.lacking)
		}
		return fmt.Sprintf("on %s the dead are gone %s after the kill, and the new ones there after %s",
			plural(len(f.all), "minion"), duration(stale.Sub(killed)), duration(lacking.Sub(killed))), nil
	})
}

// wrong is what is not as it should be on some follower, or was not looked at since.
func (f *followers) wrong(since time.Time) error {
	var errs []error
	for _, m := range f.all {
		if err := m.wrong(since); err != nil {
			errs = append(errs, fmt.Errorf("%s %w", m.node.ID, err))
		}
	}
	return errors.Join(errs...)
}

// told shows what the clients saw. It is an error if one was without an answer for longer than the limit; 0: there is none.
func (f *followers) told(limit time.Duration) error {
	if len(f.all) == 0 {
		return nil
	}
	answers, failed, connections := 0, 0, 0
	var longest time.Duration
	var from, to []string
	for _, m := range f.all {
		answers, failed, connections = answers+m.answers, failed+m.failed, connections+m.kubelet.Connections()-m.connected
		longest = max(longest, m.longest)
		from, to = append(from, m.first), append(to, m.last)
	}
	saw := fmt.Sprintf("%s asked an API server every %s: %s answers, %d failed; %s; longest without %s; %s → %s",
		plural(len(f.all), "kubelet"), askEvery, count(answers), failed, plural(connections, "new connection"), duration(longest),
		distinct(from), distinct(to))
	return f.stage.told("clients", saw, wrongIf(limit > 0 && longest > limit, "%s: want %s at most", saw, limit))
}

func (s *stage) address(n *node.Node) string { return s.region.Cloud.Instance(n.ID).PrivateIP.String() }

// addresses are those of the masters that run.
func (s *stage) addresses() []string {
	var all []string
	for _, n := range s.masters() {
		all = append(all, s.address(n))
	}
	return all
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return count(n) + " " + thing
}

func distinct(list []string) string {
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}
