package gossip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"rekindle/agent/discovery"
)

// memberlist forgets a dead node after a minute or so, and never looks for it again: the halves of a split that lasts
// longer stay apart for good. So missing peers are looked for here.
const (
	healInterval  = 30 * time.Second // between rounds; half to one and a half of it
	aloneInterval = 3 * time.Second  // between the first rounds of a node that knows nobody; doubles up to healInterval
	soonInterval  = 2 * time.Second  // after a round in which a missing peer answered: the others may, too
	seedsInterval = 5 * time.Minute  // between questions for seeds of a node that is not alone

	searchers = 64 // nodes that look for missing peers in a round; in a larger cluster each takes part by chance
	searched  = 3  // missing peers that a node looks for in a round
	fromDisk  = 12 // peers on disk that a node tries in a round while it is alone
	joinedAt  = 16 // seeds that are joined at once
)

// heal joins what is missing, round after round, and keeps the living on disk.
func (g *Gossip) heal(ctx context.Context) {
	asked, alone := time.Time{}, aloneInterval
	for {
		living := g.members.living()
		lonely := len(living) == 0
		var targets []Seed
		if lonely || rand.IntN(len(living)+1) < searchers {
			targets = g.missing(lonely)
			if g.seeds != nil && (lonely || time.Since(asked) > seedsInterval) {
				targets = append(targets, g.seeds(ctx)...)
				asked = time.Now()
			}
		}
		var wanted []Seed
		for _, s := range targets {
			if !living[s.At] {
				wanted = append(wanted, s)
			}
		}
		n, err := g.Join(ctx, wanted)
		if err != nil {
			g.log.Debug("gossip: nobody answers", "err", err)
		}
		g.save()
		wait := healInterval
		switch {
		case n > 0:
			wait, alone = soonInterval, aloneInterval
		case lonely:
			wait = alone
			alone = min(2*alone, healInterval)
		}
		select {
		case <-ctx.Done():
			g.save()
			return
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// exchange asks a random member for all that it knows, and tells it the same, for what gossip did not carry: soon after the
// start, as a storm of joins overwhelms it, and then so rarely that it costs every node about 800 B/s, whatever the size of
// the cluster: a member has about 190 bytes, which travel four times in each interval.
func (g *Gossip) exchange(ctx context.Context) {
	for n := 0; ; n++ {
		interval := max(exchangeInterval, time.Duration(g.Living())*time.Second)
		if n < len(firstExchanges) {
			interval = firstExchanges[n]
		}
		wait := interval/2 + rand.N(interval)
		if n == len(firstExchanges) {
			wait = rand.N(interval) // so that nodes that started together do not exchange in waves
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if at, ok := g.members.random(); ok {
			if _, err := g.Join(ctx, []Seed{{At: at}}); err != nil {
				g.log.Debug("gossip: exchange", "err", err)
			}
		}
	}
}

// exchangeInterval is the shortest one, for clusters of a few nodes.
const exchangeInterval = 5 * time.Second

// firstExchanges are the first waits of exchange.
var firstExchanges = []time.Duration{3 * time.Second, 10 * time.Second}

// missing are some of the peers that died, and of those on disk that have not answered yet.
func (g *Gossip) missing(lonely bool) []Seed {
	picked := g.members.missing()
	picked = picked[:min(len(picked), searched)]
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 1
	if lonely {
		n = fromDisk
	}
	for at := range g.disk { // in an order of its own each time
		if n--; n < 0 {
			break
		}
		picked = append(picked, Seed{At: at, Through: "disk"})
	}
	return picked
}

// Join asks seeds for all members they know, and tells them of this one. It returns how many answered; the error says why
// nobody did. Without seeds it does nothing. The address of this node is no seed.
func (g *Gossip) Join(ctx context.Context, seeds []Seed) (answered int, err error) {
	g.life.RLock()
	defer g.life.RUnlock()
	if g.closed {
		return 0, errClosed
	}
	tried := map[netip.AddrPort]bool{g.at: true}
	results := make(chan error, len(seeds))
	slots := make(chan struct{}, joinedAt)
	asked := 0
	for _, s := range seeds {
		if tried[s.At] || !s.At.IsValid() {
			continue
		}
		tried[s.At] = true
		asked++
		g.joining.Go(func() {
			select {
			case slots <- struct{}{}:
				results <- g.join(s)
				<-slots
			case <-ctx.Done():
				results <- context.Cause(ctx)
			}
		})
	}
	return outcome(ctx, asked, results)
}

func outcome(ctx context.Context, asked int, results <-chan error) (answered int, err error) {
	var failed []error
	for range asked {
		select {
		case err := <-results:
			if err == nil {
				answered++
			} else {
				failed = append(failed, err)
			}
		case <-ctx.Done():
			return answered, fmt.Errorf("gossip: join: %w", context.Cause(ctx))
		}
	}
	if answered > 0 || asked == 0 {
		return answered, nil
	}
	return 0, fmt.Errorf("gossip: join: nobody answers: %w", errors.Join(failed...))
}

func (g *Gossip) join(s Seed) error {
	_, err := g.list.Join([]string{s.At.String()})
	if s.Through == "" { // of exchange: a member is nothing that was found
		return err
	}
	g.counts.joined(s.Through, err == nil)
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	g.members.answered(s)
	g.mu.Lock()
	delete(g.disk, s.At)
	g.mu.Unlock()
	return nil
}

// living are the addresses of the other members.
func (m *members) living() map[netip.AddrPort]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	living := map[netip.AddrPort]bool{}
	for _, is := range m.all {
		if is.living() && is.peer.Instance != m.self {
			living[is.at] = true
		}
	}
	return living
}

// random is the address of any of the other members that live; false when there is none.
func (m *members) random() (at netip.AddrPort, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := 0
	for _, is := range m.all {
		if is.living() && is.peer.Instance != m.self {
			if seen++; rand.IntN(seen) == 0 {
				at = is.at
			}
		}
	}
	return at, seen > 0
}

// missing are peers that died and did not leave: the one that died last, and then the others in any order.
func (m *members) missing() []Seed {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget()
	var gone []*member
	for _, is := range m.all {
		if is.state == discovery.Dead {
			gone = append(gone, is)
		}
	}
	newestFirst(gone)
	if len(gone) > 1 {
		rest := gone[1:]
		rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	}
	var seeds []Seed
	for _, is := range gone {
		seeds = append(seeds, Seed{At: is.at, Through: "gossip"})
	}
	return seeds
}
