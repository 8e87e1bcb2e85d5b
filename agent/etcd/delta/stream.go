package delta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/store"
)

// Options are how often and how much. The zero value is what production uses.
type Options struct {
	Interval time.Duration // between two deltas; 0: 2 s
	// MaxBytes is what is held of events that are not stored yet; 0: 64 MiB. From half of it on a delta is closed early; when
	// all of it is taken the watch stops until there is room. The last answer of etcd comes on top, which is one
	// transaction, or a thousand of them while the watch is catching up.
	MaxBytes int
	// Patience is how old what is not stored yet may get while etcd answers; 0: 2 min. Past it: ErrBehind.
	Patience time.Duration
}

// Progress is what is known after each interval, and after each upload that failed.
type Progress struct {
	Base     int64         // revision of the full backup
	Last     int64         // what is stored reaches this far
	Age      time.Duration // of Proved, when this was reported
	Proved   time.Time     // everything that was written before is stored; while nothing is reported, count the age from here
	Bytes    int           // held in memory and not stored
	Uploaded time.Time     // when the last delta was stored; zero: none was yet
	Err      error         // why the last attempt to upload, or to ask etcd, failed; nil: it did not
}

// Stream follows one full backup with deltas. Set the fields, then Run it once at a time.
type Stream struct {
	Client  *clientv3.Client // to the local member alone: leases and events must be of the same one
	Blobs   store.Blobs
	Fence   func(ctx context.Context) error // asked before every upload; ErrFenced ends Run, other errors are retried; nil: none
	Observe func(Progress)                  // called by Run, one call at a time; nil: nobody asks
	Log     *slog.Logger                    // nil: slog.Default()
	Options Options
}

// Run stores deltas after base, whose manifest it is given, until ctx ends or there is no way to go on. If base lists deltas
// already, it continues after what it Reaches. It may begin before the manifest is stored, as soon as the snapshot's
// revision is known: the sooner, the less etcd has to look up again.
//
// Every interval it asks etcd for the present revision by a linearizable read. When the watch has delivered all
// revisions up to that, nothing is missing, whether something was written or not; that takes a quorum, so a member that
// is cut off proves nothing. An interval without a write makes no object.
//
// ErrGap: revisions were compacted before they were seen, or others came than should. ErrBehind: Patience is over. After
// both the caller takes a full backup. ErrFenced: it may not write any more. The rest is ctx's error.
func (s *Stream) Run(ctx context.Context, base backup.Entry, manifest backup.Manifest) error {
	r, err := s.begin(base, manifest)
	if err == nil {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return r.watch(ctx) })
		group.Go(func() error { return r.keep(ctx) })
		err = group.Wait()
	}
	if err != nil {
		return fmt.Errorf("deltas of backup %s %s: %w", base.Cluster, base.ID, err)
	}
	return nil
}

// run is one call of Run.
type run struct {
	*Stream
	base     backup.Entry
	manifest backup.Manifest
	cluster  uint64 // etcd's id of it; 0: the manifest does not say
	buffer   *buffer
	leases   *leases
	progress Progress
	patience patience
}

// patience ends when what is stored has not caught up with etcd for too long, while etcd answered.
type patience struct {
	limit  time.Duration
	since  time.Time // the last turn that caught up began then, or the first in which etcd answered again
	silent bool      // etcd did not answer in the last turn
}

// over takes in one turn and tells for how long nothing has caught up, and whether that is too long.
func (p *patience) over(began, ended time.Time, caughtUp, silent bool) (late time.Duration, over bool) {
	if caughtUp || p.silent && !silent {
		p.since = began
	}
	p.silent = silent
	late = ended.Sub(p.since)
	return late, !caughtUp && !silent && late > p.limit
}

func (s *Stream) begin(base backup.Entry, manifest backup.Manifest) (*run, error) {
	if base.Revision != manifest.Revision || base.Cluster != manifest.Cluster || base.Generation != manifest.Generation {
		return nil, fmt.Errorf("the manifest is of %s, generation %d, revision %d: it belongs to another backup",
			manifest.Cluster, manifest.Generation, manifest.Revision)
	}
	cluster := uint64(0)
	if manifest.ClusterID != "" {
		var err error
		if cluster, err = strconv.ParseUint(manifest.ClusterID, 16, 64); err != nil {
			return nil, fmt.Errorf("manifest: clusterID: %w", err)
		}
	}
	filled := *s
	filled.fill()
	from := max(1, base.Reaches()) // an empty etcd is at revision 1
	return &run{
		Stream: &filled, base: base, manifest: manifest, cluster: cluster,
		buffer:   newBuffer(from, filled.Options.MaxBytes),
		leases:   newLeases(filled.Client, filled.Options.Interval),
		progress: Progress{Base: base.Revision, Last: from, Proved: time.Now()},
		patience: patience{limit: filled.Options.Patience, since: time.Now()},
	}, nil
}

func (s *Stream) fill() {
	if s.Options.Interval <= 0 {
		s.Options.Interval = 2 * time.Second
	}
	if s.Options.MaxBytes <= 0 {
		s.Options.MaxBytes = 64 << 20
	}
	if s.Options.Patience <= 0 {
		s.Options.Patience = 2 * time.Minute
	}
	if s.Fence == nil {
		s.Fence = func(context.Context) error { return nil }
	}
	if s.Observe == nil {
		s.Observe = func(Progress) {}
	}
	if s.Log == nil {
		s.Log = slog.Default()
	}
	s.Log = s.Log.With("etcd", "deltas")
}

// keep closes a delta every interval, or as soon as half of the room is taken.
func (r *run) keep(ctx context.Context) error {
	r.leases.list(ctx)
	tick := time.NewTicker(r.Options.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-r.buffer.early:
		}
		if err := r.turn(ctx); err != nil {
			return err
		}
	}
}

// turn stores what has been seen so far, and learns whether that is all there was when it began.
func (r *run) turn(ctx context.Context) error {
	began := time.Now()
	present, unknown := r.present(ctx)
	if errors.Is(unknown, ErrGap) {
		return unknown
	}
	if unknown == nil {
		r.buffer.await(ctx, present, r.Options.Interval/2)
	}
	if err := r.store(ctx, present); err != nil {
		return err
	}
	caughtUp := unknown == nil && r.progress.Last >= present
	if caughtUp {
		r.progress.Proved = began
	}
	r.report(unknown)
	if late, over := r.patience.over(began, time.Now(), caughtUp, unknown != nil); over {
		return fmt.Errorf("etcd is at revision %d, what is stored reached %d, and for %s it never caught up: %w",
			present, r.progress.Last, late.Round(time.Millisecond), ErrBehind)
	}
	return ctx.Err()
}

// present is the revision of the cluster by a quorum's word.
func (r *run) present(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, max(time.Second, r.Options.Interval))
	defer cancel()
	seen := r.buffer.end()
	answer, err := r.Client.Get(ctx, "\x00", clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("asking for etcd's revision: %w", err)
	}
	if err := r.same(answer.Header.ClusterId); err != nil {
		return 0, err
	}
	if answer.Header.Revision < seen {
		return 0, fmt.Errorf("etcd is at revision %d after it was at %d: %w", answer.Header.Revision, seen, ErrGap)
	}
	return answer.Header.Revision, nil
}

// same refuses the answers of another cluster, which a restore or rescue may have put in the place of the first.
func (r *run) same(cluster uint64) error {
	if r.cluster != 0 && r.cluster != cluster {
		return fmt.Errorf("etcd's cluster id is %x, that of the backup %x: %w", cluster, r.cluster, ErrGap)
	}
	return nil
}

// store uploads one delta, if anything was written.
func (r *run) store(ctx context.Context, present int64) error {
	changes, last := r.buffer.cut()
	if len(changes) == 0 {
		return nil
	}
	alive, all := r.leases.alive(ctx, changes)
	d := &Delta{Changes: changes, Leases: alive, Header: Header{
		Cluster: r.manifest.Cluster, UID: r.manifest.UID, Generation: r.manifest.Generation,
		Base: r.progress.Last, Last: last, Events: len(changes), Taken: time.Now().UTC(),
		Settled: all && present > 0 && last >= present,
	}}
	if err := r.upload(ctx, d); err != nil {
		return err
	}
	r.buffer.stored()
	r.progress.Last, r.progress.Uploaded = last, time.Now()
	return nil
}

func (r *run) report(err error) {
	r.progress.Err = err
	r.progress.Age = time.Since(r.progress.Proved)
	r.progress.Bytes = r.buffer.held()
	r.Observe(r.progress)
}

// pause waits about d, so that those who failed together do not come back together.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
