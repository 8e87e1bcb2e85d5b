package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"

	"rekindle/agent/store"
)

const (
	parallel = 8                // ranges read at once, unless the order says otherwise
	patience = 20 * time.Second // a request that delivers nothing for so long is given up
)

// build is one restore under way.
type build struct {
	Order
	result Result
	needed int64              // bytes on the disk
	member *membership.Member // the one of the new cluster

	// step is called before everything that changes the disk. The tests end the process in it, or fail it.
	step     func(what string) error
	free     func(dir string) (int64, error) // bytes
	patience time.Duration
}

func newBuild(o Order) *build {
	if o.Parallel <= 0 {
		o.Parallel = parallel
	}
	if o.MaxEtcd == "" {
		o.MaxEtcd = version.Version // of the library that rewrites the database
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	return &build{Order: o, step: func(string) error { return nil }, free: freeSpace, patience: patience}
}

func (b *build) restore(ctx context.Context, blobs store.Blobs) (_ Result, err error) {
	defer func() { err = b.ended(err) }()
	if err := b.check(); err != nil {
		return Result{}, err
	}
	if b.result.Manifest, err = b.readManifest(ctx, blobs); err != nil {
		return Result{}, err
	}
	if err := b.begin(need(b.result.Manifest.Size + b.deltaSpace())); err != nil {
		return Result{}, err
	}
	if err := b.log(); err != nil {
		return Result{}, err
	}
	start := time.Now()
	if err := b.fetch(ctx, blobs); err != nil {
		return Result{}, err
	}
	b.result.Took.Fetch = time.Since(start)
	return b.finish(ctx, func(db *database) error { return b.replay(ctx, blobs, db) })
}

func (b *build) fromFile(ctx context.Context, path string) (_ Result, err error) {
	defer func() { err = b.ended(err) }()
	if err := b.check(); err != nil {
		return Result{}, err
	}
	start := time.Now()
	if err := b.take(ctx, path); err != nil {
		return Result{}, err
	}
	b.result.Took.Fetch = time.Since(start)
	if err := b.log(); err != nil {
		return Result{}, err
	}
	return b.finish(ctx, func(*database) error { return nil })
}

// finish makes a data directory of the database in Part.
func (b *build) finish(ctx context.Context, replay func(*database) error) (Result, error) {
	took := &b.result.Took
	lap := stopwatch()
	db, err := b.open()
	if err != nil {
		return Result{}, err
	}
	took.Rewrite = lap()
	if err = replay(db); err == nil {
		took.Deltas = lap()
		err = b.rewrite(ctx, db)
	}
	if err == nil {
		took.Rewrite += lap()
		err = b.verify(db)
	}
	if err = errors.Join(err, db.close()); err != nil {
		return Result{}, err
	}
	took.Verify = lap()
	err = b.publish()
	took.Sync += lap()
	return b.result, err
}

// stopwatch returns the time since it was last asked.
func stopwatch() func() time.Duration {
	last := time.Now()
	return func() time.Duration {
		now := time.Now()
		defer func() { last = now }()
		return now.Sub(last)
	}
}

// check refuses an order that makes no sense before anything is touched.
func (b *build) check() error {
	var errs []error
	for _, c := range []struct {
		bad bool
		say string
	}{
		{b.Dir == "" || b.Part == "" || filepath.Clean(b.Dir) == filepath.Clean(b.Part), "Dir and Part must be two paths"},
		{b.Name == "" || strings.ContainsAny(b.Name, "=,"), "Name must name the member, without = and ,"},
		{b.PeerURL == "", "PeerURL must not be empty"},
		{b.Token == "", "Token must not be empty"},
		{b.Bump > 1<<40, "Bump is larger than 2^40"},
	} {
		if c.bad {
			errs = append(errs, errors.New(c.say))
		}
	}
	for _, prefix := range b.Drop {
		if prefix == "" {
			errs = append(errs, errors.New("Drop: an empty prefix would delete every key"))
		}
	}
	if _, err := minor(b.MaxEtcd); err != nil {
		errs = append(errs, fmt.Errorf("MaxEtcd: %w", err))
	}
	return errors.Join(errs...)
}

// ended names the restore in err, and takes away what was built.
func (b *build) ended(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("restore to %s: %w", b.Dir, b.full(err))
	if b.Part == "" || filepath.Clean(b.Part) == filepath.Clean(b.Dir) {
		return err
	}
	return errors.Join(err, os.RemoveAll(b.Part))
}

func (b *build) dbFile() string  { return filepath.Join(b.Part, "member", "snap", "db") }
func (b *build) snapDir() string { return filepath.Join(b.Part, "member", "snap") }
func (b *build) walDir() string  { return filepath.Join(b.Part, "member", "wal") }
