package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	fillValue = 3400 // bytes; a key and its value take a page of the database
	perTxn    = 100
	writers   = 64 // connections are one, requests at once many
)

// fill writes keys until the database has its size. Half of each value compresses.
func fill(ctx context.Context, etcd *clientv3.Client, mib int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range (mib<<20/4096 + perTxn - 1) / perTxn {
		group.Go(func() error {
			random := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)})
			var puts []clientv3.Op
			for k := range perTxn {
				puts = append(puts, clientv3.OpPut(fmt.Sprintf("/registry/bench/%08d", i*perTxn+k), value(random, fillValue)))
			}
			_, err := etcd.Txn(ctx).Then(puts...).Commit()
			return err
		})
	}
	return group.Wait()
}

func value(random *rand.ChaCha8, size int) string {
	v := make([]byte, size)
	_, _ = random.Read(v[:size/2])
	return string(v)
}

// write is one that etcd acknowledged.
type write struct {
	due, done time.Time
	revision  int64
}

// load writes at a steady rate until ctx ends, and returns what was acknowledged.
func load(ctx context.Context, etcd *clientv3.Client, rate, size int) ([]write, error) {
	var mu sync.Mutex
	var all []write
	due := make(chan time.Time, 1<<20) // whoever is late is waited for, and that counts
	group, working := errgroup.WithContext(context.WithoutCancel(ctx))
	for n := range writers {
		group.Go(func() error {
			random := rand.NewChaCha8([32]byte{byte(n)})
			for at := range due {
				answer, err := etcd.Put(working, fmt.Sprintf("/registry/load/%04d", random.Uint64()%4096), value(random, size))
				if err != nil {
					return err
				}
				mu.Lock()
				all = append(all, write{at, time.Now(), answer.Header.Revision})
				mu.Unlock()
			}
			return nil
		})
	}
	begun := time.Now()
	for i := 0; ctx.Err() == nil && working.Err() == nil; i++ {
		at := begun.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if wait := time.Until(at); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			case <-working.Done():
			}
		}
		due <- at
	}
	close(due)
	err := group.Wait()
	return all, err
}

// latency is a percentile of those that were due in a time.
func latency(all []write, from, to time.Time, percent int) (time.Duration, error) {
	var took []time.Duration
	for _, w := range all {
		if !w.due.Before(from) && w.due.Before(to) {
			took = append(took, w.done.Sub(w.due))
		}
	}
	if len(took) == 0 {
		return 0, fmt.Errorf("nothing was written between %s and %s", from, to)
	}
	return percentile(took, percent), nil
}

func percentile(all []time.Duration, percent int) time.Duration {
	slices.Sort(all)
	return all[(len(all)-1)*percent/100]
}
