//go:build fleet

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/status"
	lab "rekindle/test/lab/node"
	"rekindle/test/vpc"
)

// scenario is something that happens to the cluster.
type scenario struct {
	name  string
	bound time.Duration // from the end of what do does until the cluster is whole
	do    func(ctx context.Context, f *fleet) (result string, err error)
}

var scenarios = []scenario{
	{"minion killed", time.Minute, func(_ context.Context, f *fleet) (string, error) { return "", f.kill(of(f.all(), "minion")[:1]) }},
	{"master killed", 2 * time.Minute, func(_ context.Context, f *fleet) (string, error) { return "", f.kill(of(f.all(), "master")[:1]) }},
	{"all masters killed", 3 * time.Minute, allMasters},
	{"rolling replacement of all", 2 * time.Minute, roll},
	{"S3 away for five minutes, agents killed every 10 s for two", 2 * time.Minute, storeAway},
	{"upgrade of all agents under load", time.Minute, upgrade},
}

// play has a scenario happen, and waits until the cluster is whole.
func (f *fleet) play(s scenario) {
	f.t.Helper()
	f.writer.pause()
	result, err := s.do(f.t.Context(), f)
	if err != nil {
		f.t.Fatalf("%s: %v", s.name, err)
	}
	ended := time.Now()
	ctx, cancel := context.WithTimeout(f.t.Context(), s.bound)
	defer cancel()
	f.await(ctx, s.name, f.look)
	f.tell(s.name, s.bound, time.Since(ended), result)
}

// kill cuts the power of machines, all at once, and ends their instances.
func (f *fleet) kill(some []*machine) error {
	var cuts errgroup.Group
	for _, m := range some {
		<-m.booted
		cuts.Go(func() error { return m.Kill(context.Background()) })
	}
	err := cuts.Wait()
	for _, m := range some {
		f.cloud.Terminate(m.ID)
	}
	return err
}

// deltasBehind is by how much the store may be behind etcd: the interval of deltas, 2 s, and what an upload takes.
const deltasBehind = 10 * time.Second

// allMasters ends all masters at once: what the store has not is lost.
func allMasters(ctx context.Context, f *fleet) (string, error) {
	if err := f.kill(of(f.all(), "master")); err != nil {
		return "", err
	}
	killed := time.Now()
	f.lineage.Generation++
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	client, err := f.etcd().AwaitServing(ctx, func() []*lab.Node { return nodes(of(f.all(), "master")) })
	if err != nil {
		return "", err
	}
	served := time.Since(killed)
	f.writer.speak(client.Endpoints())
	lost, err := f.writer.forgive(ctx, killed, deltasBehind)
	return fmt.Sprintf(", etcd served after %.1f s, %d keys of the last seconds were lost", served.Seconds(), lost), errors.Join(err, client.Close())
}

// roll replaces every machine: of each role some at a time, and the next when their successors are ready.
func roll(ctx context.Context, f *fleet) (string, error) {
	start := time.Now()
	err := f.inTurn(ctx, func(ctx context.Context, some []*machine) error {
		if err := f.kill(some); err != nil {
			return err
		}
		return f.awaited(ctx, func(ctx context.Context) error { return f.succeeded(ctx, some) })
	})
	return fmt.Sprintf(", all replaced in %.0f s", time.Since(start).Seconds()), err
}

// atOnce is how many of a role are worked on at a time.
var atOnce = map[string]int{"master": 1, "minion": 2, "loadbalancer": 1}

// inTurn does something to every machine, to some of each role at a time.
func (f *fleet) inTurn(ctx context.Context, do func(ctx context.Context, some []*machine) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	work, ctx := errgroup.WithContext(ctx)
	for role, count := range atOnce {
		work.Go(func() error {
			for some := range slices.Chunk(of(f.all(), role), count) {
				if err := do(ctx, some); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return work.Wait()
}

// succeeded wants others of the same role in the place of machines, ready, and masters' etcd to be one of living members.
func (f *fleet) succeeded(ctx context.Context, gone []*machine) error {
	now := of(f.all(), gone[0].Group)
	for _, m := range gone {
		if slices.Contains(now, m) {
			return fmt.Errorf("%s is there", m.ID)
		}
	}
	if want := sizes[gone[0].Group]; len(now) != want {
		return fmt.Errorf("%d machines, not %d", len(now), want)
	}
	for _, m := range now {
		if err := f.says(m); err != nil {
			return named(m, err)
		}
	}
	if gone[0].Group != "master" {
		return nil
	}
	return f.member(ctx, now)
}

// storeAway has S3 not answer, nor refuse: packets are lost on the way. What needs no S3 goes on meanwhile. Agents are killed in
// the last two minutes of it, and on when S3 is back.
func storeAway(ctx context.Context, f *fleet) (string, error) {
	begin, back := time.After(3*time.Minute), time.After(5*time.Minute)
	everybody, bucket := []netip.Addr{{}}, []netip.Addr{s3Address}
	f.net.Between(everybody, bucket, vpc.Link{Cut: true})
	f.storeAway = true
	f.play(scenario{"network split and back, without S3", time.Minute, split})
	f.play(scenario{"S3 away for 3 minutes", time.Minute, func(context.Context, *fleet) (string, error) {
		<-begin
		return f.unwell(), nil
	}})
	alone, err := f.startedWithoutStore(ctx)
	if err != nil {
		return "", err
	}
	killed, err := agentsKilled(ctx, f, back, func() {
		f.net.Between(everybody, bucket, vpc.Link{})
		f.storeAway = false
	})
	return alone + killed, err
}

// startedWithoutStore kills all agents while S3 is away. Those that come next find each other, and the API servers. Masters wait for
// the store before they touch etcd, so they are not ready.
func (f *fleet) startedWithoutStore(ctx context.Context) (string, error) {
	all, start := f.all(), time.Now()
	if err := onEach(ctx, all, killAgent); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := f.awaited(ctx, func(ctx context.Context) error {
		return onEach(ctx, all, func(ctx context.Context, m *machine) error {
			peers, err := status.ReadPeers(m.Path("/run/rekindle/peers.json"))
			if err == nil && peers.Written.Before(start.Add(time.Second)) {
				err = errors.New("its next agent knows nobody yet")
			}
			if err == nil {
				err = f.knows(m, all)
			}
			if err == nil {
				err = m.apiServes(ctx)
			}
			return err
		})
	})
	return fmt.Sprintf(", agents that start without S3 know each other and the API servers after %.1f s", time.Since(start).Seconds()), err
}

// unwell is what nodes say that do not say that they are ready, and how many say so.
func (f *fleet) unwell() string {
	said := map[string]int{}
	for _, m := range f.all() {
		if s, err := m.status(); err == nil && s.State != status.StateReady {
			said[string(s.State)+": "+string(s.Reason)]++
		}
	}
	if len(said) == 0 {
		return ", and all said so without S3"
	}
	return fmt.Sprintf(", before that %v", said)
}

// split cuts a master, half of the minions and a load balancer off from the others, until each side knows.
func split(ctx context.Context, f *fleet) (string, error) {
	all := f.all()
	some := slices.Concat(of(all, "master")[:1], of(all, "minion")[:3], of(all, "loadbalancer")[:1])
	others := slices.DeleteFunc(slices.Clone(all), func(m *machine) bool { return slices.Contains(some, m) })
	for _, m := range some {
		f.apart[m.ID] = true
	}
	f.net.Between(addresses(some), addresses(others), vpc.Link{Cut: true})
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	start := time.Now()
	err := f.awaited(ctx, func(ctx context.Context) error {
		for _, side := range [][]*machine{some, others} {
			for _, m := range side {
				if err := f.knows(m, side); err != nil {
					return named(m, err)
				}
			}
		}
		_, err := f.writer.check(ctx)
		return err
	})
	f.net.Between(addresses(some), addresses(others), vpc.Link{})
	clear(f.apart)
	return fmt.Sprintf(", each side knew itself alone after %.1f s", time.Since(start).Seconds()), err
}

func addresses(machines []*machine) []netip.Addr {
	var all []netip.Addr
	for _, m := range machines {
		all = append(all, m.PrivateIP)
	}
	return all
}
