package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/status"
	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

const (
	cluster  = "main"
	cacheDir = "var/lib/rekindle/cache"
	prefix   = "/registry/configmaps/"

	perKey    = 2048 // bytes of the database: two keys to a page
	valueSize = 1700 // bytes; the rest is their names and what bbolt leaves free
)

// bench is the laboratory of the measurement.
type bench struct {
	options
	dir    string
	region *region.Region
	etcd   *keyspace.Cluster
	cache  string // what the image has of assets; empty: nothing yet
}

// bake puts the cache into the image of the next instance. Hard links: nobody writes to an object in a cache.
func (b *bench) bake(root string) error {
	if b.cache == "" {
		return nil
	}
	return filepath.WalkDir(b.cache, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(b.cache, path)
		if err != nil {
			return err
		}
		to := filepath.Join(root, cacheDir, name)
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		return os.Link(path, to)
	})
}

// measure fills the etcd of a first master, and takes one master after the other away.
func (b *bench) measure(ctx context.Context) ([]sample, error) {
	if err := b.region.Group("master", region.MasterProfile, 1, []byte("store: "+store+"\n")); err != nil {
		return nil, err
	}
	master, err := b.ready(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.fill(ctx, master); err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	cache := filepath.Join(b.dir, "cache")
	if err := os.CopyFS(cache, os.DirFS(master.Path(cacheDir))); err != nil {
		return nil, err
	}
	b.cache = cache
	var samples []sample
	for i := range b.runs {
		var s sample
		if master, s, err = b.rebuild(ctx, master, i); err != nil {
			return nil, fmt.Errorf("run %d: %w", i+1, err)
		}
		samples = append(samples, s)
	}
	return samples, nil
}

// ready is the master of the group, but for those in except, once it is ready.
func (b *bench) ready(ctx context.Context, except ...string) (*node.Node, error) {
	nodes, err := b.region.AwaitMembers(ctx, "master", 1, except...)
	if err != nil {
		return nil, err
	}
	if _, err := nodes[0].Ready(ctx); err != nil {
		log, _ := os.ReadFile(nodes[0].Log) //nolint:errcheck // the error says enough without it
		return nil, fmt.Errorf("%w\n%s", err, log)
	}
	return nodes[0], nil
}

// fill writes the database and stores a full backup of it: the first one that the master took by itself is nearly empty.
func (b *bench) fill(ctx context.Context, master *node.Node) (err error) {
	client, err := b.etcd.Dial(master)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := keyspace.Write(ctx, client, keyspace.Fill{Prefix: prefix + "all/", Keys: b.size << 20 / perKey, Size: valueSize}); err != nil {
		return err
	}
	record, err := b.etcd.Lineage(ctx)
	if err != nil {
		return err
	}
	blobs, err := b.region.Store(store)
	if err != nil {
		return err
	}
	taker, err := backup.NewTaker(backup.Options{
		Etcd: client, Blobs: blobs, Records: blobs, Cluster: cluster, UID: record.UID, Generation: record.Generation,
		Member: record.Members[0].Name, SpoolDir: filepath.Join(b.dir, "spool"),
		Fence: func(context.Context) error { return nil }, // there is no other master that could begin a generation
	})
	if err != nil {
		return err
	}
	_, _, err = taker.Take(ctx)
	return err
}

// rebuild takes the master away once the store has all that it wrote, and returns the one that took its place.
func (b *bench) rebuild(ctx context.Context, master *node.Node, run int) (_ *node.Node, s sample, err error) {
	client, err := b.etcd.Dial(master)
	if err != nil {
		return nil, s, err
	}
	before, err := b.store(ctx, client, run)
	if err := errors.Join(err, client.Close()); err != nil {
		return nil, s, err
	}
	killed := time.Now()
	if _, err := b.region.Terminate(master.ID); err != nil {
		return nil, s, err
	}
	fresh := func() []*node.Node { return b.region.Members("master") } // the old one is none any more
	if client, err = b.etcd.AwaitServing(ctx, fresh); err != nil {
		return nil, s, err
	}
	served := time.Now()
	after, err := keyspace.Read(ctx, client, prefix)
	if err == nil && (after.Digest != before.Digest || after.Revision <= before.Revision) {
		err = fmt.Errorf("%d keys at revision %d, were %d at %d: they are not the same", after.Keys, after.Revision, before.Keys, before.Revision)
	}
	if err == nil {
		s.database, err = sizeOf(ctx, client)
	}
	if err := errors.Join(err, client.Close()); err != nil {
		return nil, s, err
	}
	if master, err = b.ready(ctx, master.ID); err != nil {
		return nil, s, err
	}
	if err := s.measure(master, killed, served); err != nil {
		return nil, s, err
	}
	b.tell(run, master, s)
	return master, s, nil
}

// store waits for the full backup, writes some more, and waits until the store has that, too.
func (b *bench) store(ctx context.Context, client *clientv3.Client, run int) (before keyspace.State, err error) {
	record, err := b.etcd.Lineage(ctx)
	if err != nil {
		return before, err
	}
	await := func() error {
		if before, err = keyspace.Read(ctx, client, prefix); err != nil {
			return err
		}
		_, err := b.etcd.AwaitStored(ctx, record.Generation, before.Revision, func(keyspace.Stored) {})
		return err
	}
	if err := await(); err != nil {
		return before, err
	}
	more := keyspace.Fill{Prefix: fmt.Sprintf("%ssince-%d/", prefix, run), Keys: b.since, Size: valueSize}
	if err := keyspace.Write(ctx, client, more); err != nil {
		return before, err
	}
	return before, await()
}

func sizeOf(ctx context.Context, client *clientv3.Client) (int64, error) {
	about, err := client.Status(ctx, client.Endpoints()[0])
	if err != nil {
		return 0, err
	}
	return about.DbSize, nil
}

func (b *bench) tell(run int, master *node.Node, s sample) {
	if !b.verbose {
		return
	}
	fmt.Fprintf(os.Stderr, "\nrun %d: %s, a database of %s\n", run+1, s.spans[total].Round(time.Millisecond), status.Bytes(s.database))
	timeline, err := master.Timeline()
	if err == nil {
		err = timeline.Text(os.Stderr, 120)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
