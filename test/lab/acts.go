package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd"
	"rekindle/agent/status"
	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/node"
)

// What a scene writes.
const (
	written   = "/demo/"
	fillKeys  = 2000
	fillSize  = 2 << 10
	leaseTime = time.Hour
)

// held is what etcd held before something happened.
type held struct {
	keyspace.State
	lease      clientv3.LeaseID
	generation int
}

// nothing is there to look at.
func nothing() string { return "" }

// write writes keys, and one that a lease holds, and reads all that etcd has.
func (s *stage) write(ctx context.Context, client *clientv3.Client, scene string) (w held, err error) {
	prefix := written + scene + "/"
	err = s.during("write", nothing, func() (string, error) {
		if err := keyspace.Write(ctx, client, keyspace.Fill{Prefix: prefix, Keys: fillKeys, Size: fillSize}); err != nil {
			return "", err
		}
		lease, err := client.Grant(ctx, int64(leaseTime.Seconds()))
		if err != nil {
			return "", err
		}
		w.lease = lease.ID
		if err := keyspace.Write(ctx, client, keyspace.Fill{Prefix: prefix + "lease/", Keys: 1, Size: 16, Lease: lease.ID}); err != nil {
			return "", err
		}
		if w.State, err = keyspace.Read(ctx, client, written); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s keys, %s, and a lease of an hour: revision %s", count(w.Keys), status.Bytes(w.Bytes), count(w.Revision)), nil
	})
	return w, err
}

// stored waits until the store has what was written: what is younger would be lost with the last disk.
func (s *stage) stored(ctx context.Context, w *held) error {
	var now atomic.Pointer[string]
	look := func() string {
		if text := now.Load(); text != nil {
			return *text
		}
		return ""
	}
	return s.during("back up", look, func() (string, error) {
		record, err := s.etcd.Lineage(ctx)
		if err != nil {
			return "", err
		}
		w.generation = record.Generation
		has, err := s.etcd.AwaitStored(ctx, record.Generation, w.Revision, func(has keyspace.Stored) {
			text := fmt.Sprintf("the store reaches revision %s of %s", count(has.Reaches), count(w.Revision))
			now.Store(&text)
		})
		return fmt.Sprintf("the store has it all: a backup of revision %s and %d deltas, %s", count(has.Backup), has.Deltas, status.Bytes(has.Bytes)), err
	})
}

// kill cuts the power of masters, all at once, and destroys their disks.
func (s *stage) kill(victims []*node.Node) (killed time.Time, err error) {
	killed = time.Now()
	err = s.during("kill", nothing, func() (string, error) {
		_, err := s.region.TerminateAll(ids(victims))
		end := " terminated; its disk is gone"
		if len(victims) > 1 {
			end = " terminated; their disks are gone"
		}
		return strings.Join(ids(victims), ", ") + end, err
	})
	return killed, err
}

// comeBack waits until the masters that were launched since serve etcd, and are ready. It returns a client of them all.
func (s *stage) comeBack(ctx context.Context, killed time.Time, want int, gone []*node.Node) (client *clientv3.Client, took time.Duration, err error) {
	fresh := func() []*node.Node { return s.but(gone) }
	look := func() string { return s.telling(fresh()) }
	err = s.during("rebuild", look, func() (string, error) {
		if client, err = s.etcd.AwaitServing(ctx, fresh); err != nil {
			return "", err
		}
		took = time.Since(killed)
		return "etcd serves again, " + duration(took) + " after the kill", client.Close()
	})
	if err != nil {
		return nil, took, err
	}
	if err := s.ready(ctx, "ready", want, gone); err != nil {
		return nil, took, err
	}
	client, err = s.etcd.Dial(fresh()...)
	return client, took, err
}

// ready waits until so many masters are ready, not counting some.
func (s *stage) ready(ctx context.Context, name string, want int, gone []*node.Node) error {
	return s.during(name, func() string { return s.telling(s.but(gone)) }, func() (string, error) {
		nodes, err := s.region.AwaitMembers(ctx, "master", want, ids(gone)...)
		if err != nil {
			return "", err
		}
		if err := allReady(ctx, nodes); err != nil {
			return "", err
		}
		record, err := s.etcd.Lineage(ctx)
		if err != nil {
			return "", err
		}
		return strings.Join(ids(nodes), ", ") + ": " + voters(record), nil
	})
}

func allReady(ctx context.Context, nodes []*node.Node) error {
	results := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() {
			_, err := n.Ready(ctx)
			results <- err
		}()
	}
	var errs []error
	for range nodes {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

func voters(record *etcd.Lineage) string {
	n := 0
	for _, m := range record.Members {
		if !m.Learner && m.Lost == "" {
			n++
		}
	}
	if n == 1 {
		return "1 voter"
	}
	return fmt.Sprintf("%d voters", n)
}

// compare checks what came back after all masters of before were lost.
func (s *stage) compare(ctx context.Context, client *clientv3.Client, what string, before held, took time.Duration) error {
	after, err := keyspace.Read(ctx, client, written)
	if err != nil {
		return err
	}
	record, err := s.etcd.Lineage(ctx)
	if err != nil {
		return err
	}
	s.losses = append(s.losses, loss{what, took, before.State, after, before.generation, record.Generation})
	made, err := s.made(record)
	return errors.Join(
		s.told("restore", made, err),
		s.told("data", fmt.Sprintf("%s keys, each as it was written", count(after.Keys)), same(before.State, after)),
		s.told("revision", fmt.Sprintf("%s → %s: higher than any that a client has seen", count(before.Revision), count(after.Revision)),
			wrongIf(after.Revision <= before.Revision, "revision %d, was %d", after.Revision, before.Revision)),
		s.watchers(ctx, client, before),
		s.leases(ctx, client, before),
		s.told("lineage", fmt.Sprintf("generation %d → %d, %s", before.generation, record.Generation, record.State),
			wrongIf(record.Generation != before.generation+1 || record.State != etcd.Running, "%+v", record)),
	)
}

// made is what the master that began the generation says of the data that it made.
func (s *stage) made(record *etcd.Lineage) (string, error) {
	for _, n := range s.masters() {
		now, err := n.Status()
		if err != nil {
			return "", err
		}
		for _, e := range now.Etcd {
			if e.Cluster != s.etcd.Name || e.Built == nil || e.Built.Generation != record.Generation {
				continue
			}
			return fmt.Sprintf("%s made the data of backup %s and its deltas in %s", n.ID, e.Built.Backup,
				duration(time.Duration(e.Built.Seconds*float64(time.Second)))), wrongIf(e.Built.Backup == "", "%+v: no backup", *e.Built)
		}
	}
	return "", fmt.Errorf("no master says that it made the data of generation %d", record.Generation)
}

// told shows a check and returns its error.
func (s *stage) told(name, saw string, err error) error {
	s.check(name, saw, 0, err)
	return err
}

func wrongIf(wrong bool, format string, args ...any) error {
	if wrong {
		return fmt.Errorf(format, args...)
	}
	return nil
}

func same(before, after keyspace.State) error {
	return wrongIf(before.Keys != after.Keys || before.Digest != after.Digest,
		"%d keys of %d bytes, digest %x; were %d of %d, %x", after.Keys, after.Bytes, after.Digest[:4], before.Keys, before.Bytes, before.Digest[:4])
}

// watchers want to hear that they missed something.
func (s *stage) watchers(ctx context.Context, client *clientv3.Client, before held) error {
	upTo, err := keyspace.Compacted(ctx, client, before.Revision+1)
	return s.told("watch", fmt.Sprintf("who watched from revision %s hears `compacted` (%s), and lists anew", count(before.Revision+1), count(upTo)), err)
}

func (s *stage) leases(ctx context.Context, client *clientv3.Client, before held) error {
	left, err := client.TimeToLive(ctx, before.lease, clientv3.WithAttachedKeys())
	if err != nil {
		return s.told("lease", "", err)
	}
	return s.told("lease", fmt.Sprintf("holds its key for another %s", time.Duration(left.TTL)*time.Second),
		wrongIf(left.TTL <= 0 || len(left.Keys) != 1, "lease %x: %d seconds, %d keys", before.lease, left.TTL, len(left.Keys)))
}

// picture draws the boot of a master.
func (s *stage) picture(ctx context.Context, n *node.Node, name string) error {
	path := filepath.Join(s.dir, "timeline-"+name+".svg")
	s.timelines = append(s.timelines, path)
	return drawOne(ctx, s.suite.Binary, n, path)
}
