package care

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/status"
)

// deltas follows backups: the one that counts, and beside it, from the moment that its revision is known, the one that is
// about to. The older one is followed until what is stored of the newer reaches as far, so that at no time less is stored
// than before. Its methods are called by one goroutine.
type deltas struct {
	*term
	client  *clientv3.Client
	streams []*stream              // two at most, the older first
	counts  atomic.Pointer[stream] // of the backup that counts; nil: it is not followed
	wake    chan struct{}          // holds one token when a stream broke
}

// stream follows one backup.
type stream struct {
	base     backup.Entry
	manifest backup.Manifest
	stop     func()
	reaches  atomic.Int64
	broken   atomic.Bool // a full backup has to be taken
	dead     atomic.Bool // and nothing comes any more
	target   int64       // what the newer one has to reach; 0: not asked yet
	proved   time.Time
}

// begin follows a backup, unless it is followed.
func (d *deltas) begin(ctx context.Context, base backup.Entry, manifest backup.Manifest) {
	if d.Config.NoDeltas || d.find(base.ID) != nil {
		return
	}
	for len(d.streams) >= 2 {
		d.drop(d.spare())
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	s := &stream{base: base, manifest: manifest, stop: func() { cancel(); <-ended }}
	s.reaches.Store(base.Reaches())
	d.streams = append(d.streams, s)
	go func() {
		defer close(ended)
		d.run(ctx, s)
	}()
}

// spare is the stream that is missed least: a dead one, or else the older that does not count.
func (d *deltas) spare() *stream {
	for _, s := range d.streams {
		if s.dead.Load() {
			return s
		}
	}
	for _, s := range d.streams {
		if s != d.counts.Load() {
			return s
		}
	}
	return d.streams[0]
}

func (d *deltas) find(id string) *stream {
	for _, s := range d.streams {
		if s.base.ID == id {
			return s
		}
	}
	return nil
}

func (d *deltas) drop(s *stream) {
	s.stop()
	for i := range d.streams {
		if d.streams[i] == s {
			d.streams = append(d.streams[:i:i], d.streams[i+1:]...)
			return
		}
	}
}

// settle says which backup counts, and ends the stream of the one before once that is not needed any more. False: it still is.
func (d *deltas) settle(id string) bool {
	newer := d.find(id)
	if newer == nil {
		return true
	}
	d.counts.Store(newer)
	if newer.dead.Load() {
		return true // then the older one is better than none
	}
	for _, older := range append([]*stream(nil), d.streams...) {
		if older == newer {
			continue
		}
		if older.target == 0 {
			older.target = older.reaches.Load()
		}
		if older.dead.Load() || newer.reaches.Load() >= older.target {
			d.drop(older)
		}
	}
	return len(d.streams) < 2
}

// abandon ends the stream of a backup that came to nothing. What it stored counts as little, and retention removes it.
func (d *deltas) abandon(id string) {
	if s := d.find(id); s != nil && s != d.counts.Load() {
		d.drop(s)
	}
}

func (d *deltas) end() {
	for len(d.streams) > 0 {
		d.drop(d.streams[0])
	}
}

// broken tells whether a full backup has to be taken since the deltas of the one that counts have a gap, or fell behind.
func (d *deltas) broken() bool {
	s := d.counts.Load()
	return s != nil && s.broken.Load()
}

// run stores deltas until ctx ends, or until nothing that comes would follow what is stored.
func (d *deltas) run(ctx context.Context, s *stream) {
	for wait := d.pace.retry; ; wait = min(2*wait, failLongest) {
		began := time.Now()
		err := d.stream(s).Run(ctx, s.base, s.manifest)
		if ctx.Err() != nil {
			return
		}
		d.ended(s, err)
		if s.dead.Load() {
			return
		}
		if time.Since(began) > failLongest {
			wait = d.pace.retry
		}
		if !pause(ctx, wait) || !d.renew(ctx, s) {
			return
		}
	}
}

func (d *deltas) stream(s *stream) *delta.Stream {
	var first time.Time
	return &delta.Stream{
		Client: d.client, Blobs: d.Store, Fence: d.fence, Log: d.Logger,
		Options: delta.Options{Interval: d.Config.Deltas, MaxBytes: d.pace.held},
		Observe: func(p delta.Progress) {
			if first.IsZero() {
				first = p.Proved // when it began; until there is another time nothing is proved
			}
			if p.Proved.After(first) {
				s.proved = p.Proved
			}
			s.reaches.Store(p.Last)
			d.tell(s, p.Bytes, p.Err)
		},
	}
}

func (d *deltas) tell(s *stream, held int, err error) {
	if d.counts.Load() != s {
		return
	}
	d.show(func(e *status.Etcd) {
		e.Delta = &status.EtcdDelta{
			Interval: d.Config.Deltas.Seconds(), Reaches: s.reaches.Load(), Proved: s.proved, Held: held, Failed: message(err),
		}
	})
}

// ended shows why a stream ended by itself, and has a full backup taken if that is what it takes.
func (d *deltas) ended(s *stream, err error) {
	d.Logger.Warn("deltas ended", "etcd", d.Member.Name, "backup", s.base.ID, "error", err)
	d.tell(s, 0, err)
	gap := errors.Is(err, delta.ErrGap)
	s.dead.Store(gap)
	if gap || errors.Is(err, delta.ErrBehind) {
		s.broken.Store(true)
		select {
		case d.wake <- struct{}{}:
		default: // it is going to look, in any case
		}
	}
}

// renew learns how far what is stored of a backup reaches. False: ctx ended.
func (d *deltas) renew(ctx context.Context, s *stream) bool {
	for wait := d.pace.retry; ; wait = min(2*wait, failLongest) {
		entries, err := backup.List(ctx, d.Store, d.Member.Name)
		if err == nil {
			for _, e := range entries {
				if e.ID == s.base.ID {
					s.base.Deltas = e.Deltas
				}
			}
			s.reaches.Store(s.base.Reaches())
			return true
		}
		if !pause(ctx, wait) {
			return false
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
