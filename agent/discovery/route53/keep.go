package route53

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// keep makes the records follow the view: at once, or when it is this master's turn.
func (k *Keeper) keep(ctx context.Context, now bool) error {
	found, err := k.read(ctx)
	if err != nil {
		return err
	}
	k.mu.Lock()
	view, version := k.view, k.version // after the read: it may have waited for its turn for longer than a restless view stays
	k.mu.Unlock()
	others := k.learn(found)
	d := k.decide(ctx, found, view)
	if turn := k.judge(d, version, others); len(d.changes) == 0 || !now && time.Now().Before(turn) {
		return nil
	}
	err = k.request(ctx, "ChangeResourceRecordSets", func(ctx context.Context) error { return k.o.API.Change(ctx, k.zone.ID, d.changes) })
	if err != nil {
		k.mu.Lock()
		k.refusal = true
		k.mu.Unlock()
		return fmt.Errorf("zone %s: %w", k.zone.ID, err)
	}
	k.wrote, k.known = version, found.apply(k.o.Cluster, d.changes)
	for _, c := range d.changes {
		if c.Action == Create && c.Record.Type != "TXT" {
			k.o.Logger.Info("route53: written", "zone", k.zone.ID, "name", c.Record.Name, "addresses", c.Record.Values)
		}
	}
	k.written(version)
	return nil
}

// read finds the zone, once, and lists the cluster's domain in it.
func (k *Keeper) read(ctx context.Context) (listing, error) {
	if k.zone.ID == "" {
		z, err := k.findZone(ctx)
		if err != nil {
			return nil, err
		}
		k.zone = z
		k.mu.Lock()
		k.status.Zone, k.status.ZoneName = z.ID, strings.TrimSuffix(z.Name, ".")
		k.mu.Unlock()
	}
	var records []Record
	for from := (&Place{Name: k.domain}); from != nil; {
		var page []Record
		var next *Place
		err := k.request(ctx, "ListResourceRecordSets", func(ctx context.Context) (err error) {
			page, next, err = k.o.API.Records(ctx, k.zone.ID, *from)
			return err
		})
		if err != nil {
			zone := k.zone.ID
			if stateOf(err) == Missing {
				k.zone = Zone{} // it may be there under another id
			}
			return nil, fmt.Errorf("zone %s: %w", zone, err)
		}
		for _, r := range page {
			if below(r.Name, k.domain) {
				records = append(records, r)
			}
		}
		// A name and those under it stand together, and the page began with the first of them.
		if n := len(page); n > 0 && !below(page[n-1].Name, k.domain) {
			next = nil
		}
		from = next
	}
	return arrange(k.o.Cluster, records), nil
}

// learn compares what is listed with what this keeper knew, and tells whether somebody else wrote.
func (k *Keeper) learn(found listing) (others bool) {
	now := time.Now()
	for a, since := range k.refused {
		if now.Sub(since) > refusedFor {
			delete(k.refused, a)
		}
	}
	if k.known != nil {
		for _, a := range without(k.known.addresses(), found.addresses()) {
			k.refused[a] = now
		}
		others = !maps.Equal(k.known.serials(), found.serials())
	}
	k.known = found
	return others
}

// serials tell writes apart.
func (l listing) serials() map[key]int64 {
	serials := map[key]int64{}
	for k, s := range l {
		if s.serial > 0 {
			serials[k] = s.serial
		}
	}
	return serials
}

// decide asks who is gone only if it matters.
func (k *Keeper) decide(ctx context.Context, found listing, view View) decision {
	refused := slices.Collect(maps.Keys(k.refused))
	d := decide(k.o.Cluster, found, view, nil, refused)
	if d.majority {
		clear(k.refused)
		return d
	}
	if len(d.held) == 0 || k.o.Gone == nil {
		return d
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	unseen := without(found.addresses(), view.Living)
	gone, err := k.o.Gone(ctx, unseen)
	if err != nil {
		k.o.Logger.Warn("route53: nobody can tell which addresses are gone; all stay", "addresses", unseen, "error", err)
		return d
	}
	gone = slices.DeleteFunc(tidy(gone), func(a netip.Addr) bool { return !slices.Contains(unseen, a) })
	return decide(k.o.Cluster, found, view, gone, refused)
}

// judge notes what was found, sets the next pass and returns when it is this master's turn to write.
func (k *Keeper) judge(d decision, version int, others bool) (turn time.Time) {
	if len(d.changes) == 0 {
		k.succeeded()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for _, f := range d.foreign {
		if !slices.Contains(k.status.Foreign, f) {
			k.o.Logger.Warn("route53: a record of others is left alone; delete it if rekindle is to keep the name", "record", f)
		}
	}
	k.status.Foreign, k.status.Held, k.status.LastRead = d.foreign, d.held, now
	if version != k.version {
		return k.rested() // the view changed while EC2 was asked who is gone; Update has set the next pass
	}
	if len(d.changes) == 0 {
		k.wrong, k.moving = time.Time{}, time.Time{}
		k.schedule(now.Add(spread(driftEvery)))
		return now
	}
	if k.wrong.IsZero() {
		k.wrong = now
	}
	if others && k.wrote == version {
		k.undone++
		k.wrong = now
	}
	turn = k.rested()
	k.schedule(turn.Add(late(k.view.Rank)))
	return turn
}

// written is what a batch that was applied means.
func (k *Keeper) written(version int) {
	k.metrics.written()
	k.succeeded()
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.status.LastWrite = now
	if version == k.version {
		k.wrong, k.moving = time.Time{}, time.Time{}
		k.schedule(now.Add(spread(verifyAfter)))
	}
}
