package route53

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"rekindle/agent/discovery"
)

// Options say which names are kept, and where.
type Options struct {
	Cluster string
	// ZoneID and ZoneName choose the hosted zone; the id wins. Neither: the private zone with the longest name that
	// contains the cluster's names.
	ZoneID, ZoneName string
	API              API
	// Gone picks those of the addresses that certainly belong to no instance that could come back: by EC2's word, never
	// by silence. It is asked only while less than a majority of what is listed can be seen. Nil: nobody knows.
	Gone   func(context.Context, []netip.Addr) ([]netip.Addr, error)
	Logger *slog.Logger // default: discard
}

// Keeper keeps the records. Its methods are safe for concurrent use.
type Keeper struct {
	o       Options
	domain  string // internal.<cluster>.
	pace    pace
	metrics metrics
	wake    chan struct{}

	busy    chan struct{} // holds one token: who has it may use what follows
	zone    Zone
	known   listing // as last read or written; nil: never
	wrote   int     // version of the view that was last written; 0: none
	refused map[netip.Addr]time.Time

	mu       sync.Mutex // guards what follows
	view     View
	version  int       // of the view; 0: there is none
	changed  time.Time // when the view changed last
	moving   time.Time // since when it has not rested; zero: it was acted upon
	wrong    time.Time // since when the records have differed from the view; zero: they do not
	undone   int       // how often others replaced what this view wanted
	failures int       // in a row
	refusal  bool      // the last failure was a write's: a read that works does not end it
	due      time.Time // the next pass
	status   Status
}

// New checks the options and asks nobody.
func New(o Options) (*Keeper, error) {
	if o.Cluster == "" || o.API == nil {
		return nil, errors.New("route53: a keeper needs a cluster and an API")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	_, domain, _ := strings.Cut(fqdn(discovery.APIName(o.Cluster)), ".")
	return &Keeper{
		o: o, domain: domain, wake: make(chan struct{}, 1), busy: make(chan struct{}, 1),
		refused: map[netip.Addr]time.Time{}, status: Status{Availability: Availability{State: Unknown}},
	}, nil
}

// Update tells what this master sees now. It returns at once; Run acts on it.
func (k *Keeper) Update(v View) error {
	v, err := v.normal(k.domain)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.version > 0 && k.view.equal(v) {
		return nil
	}
	now := time.Now()
	k.view, k.changed, k.undone = v, now, 0
	k.version++
	if k.moving.IsZero() {
		k.moving = now
	}
	if k.wrong.IsZero() {
		k.wrong = now
	}
	k.schedule(k.rested().Add(late(v.Rank)))
	select {
	case k.wake <- struct{}{}:
	default:
	}
	return nil
}

// rested is when the view may be acted upon. Masters of a higher rank leave it to the others first.
func (k *Keeper) rested() time.Time {
	at := k.changed.Add(settleTime)
	if most := k.moving.Add(settleMost); at.After(most) {
		at = most
	}
	if turn := k.wrong.Add(hold(k.view.Rank, k.undone)); at.Before(turn) {
		at = turn
	}
	return at
}

// schedule sets the next pass, but for the pause after a failure.
func (k *Keeper) schedule(at time.Time) {
	if k.failures == 0 || at.After(k.due) {
		k.due = at
	}
	k.status.NextTry = k.due
}

// Run keeps the records equal to what Update tells until ctx ends; it returns nil then. Failures show in Status.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		k.mu.Lock()
		known, wait := k.version > 0, time.Until(k.due)
		k.mu.Unlock()
		if !known {
			wait = driftEvery // there is nothing to keep yet
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-k.wake:
			timer.Stop()
			continue
		case <-timer.C:
		}
		if !known {
			continue
		}
		if err := k.pass(ctx, false); err != nil && ctx.Err() == nil {
			k.o.Logger.Warn("route53: the records could not be kept", "zone", k.Status().Zone, "error", err)
		}
	}
}

// Sync is Update and one pass, whatever the rank, and however new the view is. The rules about foreign records and about
// majorities hold.
func (k *Keeper) Sync(ctx context.Context, v View) error {
	if err := k.Update(v); err != nil {
		return err
	}
	return k.pass(ctx, true)
}

// Probe asks whether the zone is there and can be read; the error is nil if it is. Whether it can be written is seen when
// there is something to write.
func (k *Keeper) Probe(ctx context.Context) (Availability, error) {
	err := k.locked(ctx, func() error {
		_, err := k.read(ctx)
		if err == nil {
			k.answered()
		}
		return k.failed(ctx, err)
	})
	return k.Status().Availability, err
}

// pass reads, and writes if that is due.
func (k *Keeper) pass(ctx context.Context, now bool) error {
	return k.locked(ctx, func() error { return k.failed(ctx, k.keep(ctx, now)) })
}

// locked runs one after the other.
func (k *Keeper) locked(ctx context.Context, do func() error) error {
	select {
	case k.busy <- struct{}{}:
		defer func() { <-k.busy }()
		return do()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// request is one request: in its turn, with a deadline, counted.
func (k *Keeper) request(ctx context.Context, action string, do func(context.Context) error) error {
	if err := k.pace.take(ctx); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	err := do(limited)
	k.metrics.count(action, err)
	if err != nil {
		return fmt.Errorf("%s: %w", action, explain(err))
	}
	return nil
}
