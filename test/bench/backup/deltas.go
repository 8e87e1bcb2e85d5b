package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// delivery is a delta that is stored.
type delivery struct {
	last int64
	at   time.Time
}

// tale is what the process that follows a backup tells.
type tale struct {
	told    chan delivery // closed at its end; then the rest may be read
	outcome outcome
	err     error
}

func listen(p *part) *tale {
	t := &tale{told: make(chan delivery, 1<<16)} // more than one benchmark has
	go func() {
		defer close(t.told)
		for {
			line, err := p.lines.ReadString('\n')
			if err != nil {
				return
			}
			if strings.HasPrefix(line, "{") {
				t.err = json.Unmarshal([]byte(line), &t.outcome)
				continue
			}
			var d delivery
			var nanoseconds int64
			if _, err := fmt.Sscan(line, &d.last, &nanoseconds); err != nil {
				t.err = fmt.Errorf("%q: %w", line, err)
				continue
			}
			d.at = time.Unix(0, nanoseconds)
			t.told <- d
		}
	}()
	return t
}

// await returns the deltas up to that of a revision.
func (t *tale) await(ctx context.Context, revision int64) (all []delivery, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		select {
		case d, ok := <-t.told:
			if !ok {
				return nil, errors.Join(errors.New("it ended early"), t.err)
			}
			if all = append(all, d); d.last >= revision {
				return all, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("revision %d is not stored: %w", revision, ctx.Err())
		}
	}
}

// follows measures how long after its acknowledgement a write is in the store.
func (b *bed) follows(ctx context.Context) error {
	p, err := start(ctx, "follow", b.from, b.to)
	if err != nil {
		return err
	}
	t := listen(p)
	writing, stop := context.WithTimeout(ctx, b.follow)
	defer stop()
	begun := time.Now()
	all, err := load(writing, b.etcd, b.deltas, 256)
	took := time.Since(begun)
	var stored []delivery
	if err == nil {
		slices.SortFunc(all, func(a, b write) int { return int(a.revision - b.revision) })
		stored, err = t.await(ctx, all[len(all)-1].revision)
	}
	err = errors.Join(err, p.in.Close())
	for range t.told { // until it ends
	}
	if err := errors.Join(err, p.cmd.Wait(), t.err); err != nil {
		return err
	}
	aged := ages(all, stored)
	report("delta_writes_per_second", float64(len(all))/took.Seconds(), "1/s")
	report("delta_objects", float64(len(stored)), "objects")
	report("delta_age_p50_seconds", percentile(aged, 50).Seconds(), "s")
	report("delta_age_p99_seconds", percentile(aged, 99).Seconds(), "s")
	report("delta_age_max_seconds", percentile(aged, 100).Seconds(), "s")
	report("delta_cpu_seconds", t.outcome.CPU.Seconds(), "s")
	report("delta_peak_rss_mb", float64(t.outcome.Anon)/(1<<20), "MiB")
	return nil
}

// ages are those of the writes, by revision, at the moment at which the delta that holds them was stored.
func ages(all []write, stored []delivery) (aged []time.Duration) {
	for _, w := range all {
		for stored[0].last < w.revision {
			stored = stored[1:]
		}
		aged = append(aged, stored[0].at.Sub(w.done))
	}
	return aged
}
