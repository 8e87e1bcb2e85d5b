package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// writerPrefix is apart from what the scenes compare.
const writerPrefix = "/writer/"

// writer writes one key after the other while something happens, and remembers what etcd acknowledged.
type writer struct {
	acknowledged []string
	longest      time.Duration // from one acknowledgement to the next

	cancel context.CancelFunc
	ended  chan struct{}
}

const (
	writeEvery = 10 * time.Millisecond
	writeLimit = 200 * time.Millisecond // for one try; the next is another key
)

func startWriter(ctx context.Context, client *clientv3.Client) *writer {
	w := &writer{ended: make(chan struct{})}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		defer close(w.ended)
		last := time.Now()
		for i := 0; ctx.Err() == nil; i++ {
			key := fmt.Sprintf("%s%06d", writerPrefix, i)
			if put(ctx, client, key) == nil {
				w.acknowledged = append(w.acknowledged, key)
				w.longest, last = max(w.longest, time.Since(last)), time.Now()
			}
			select {
			case <-ctx.Done():
			case <-time.After(writeEvery):
			}
		}
	}()
	return w
}

func put(ctx context.Context, client *clientv3.Client, key string) error {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	_, err := client.Put(ctx, key, "x")
	return err
}

// stop ends the writing.
func (w *writer) stop() {
	w.cancel()
	<-w.ended
}

// check wants every key that was acknowledged.
func (w *writer) check(ctx context.Context, client *clientv3.Client) error {
	answer, err := client.Get(ctx, writerPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, kv := range answer.Kvs {
		there[string(kv.Key)] = true
	}
	for _, key := range w.acknowledged {
		if !there[key] {
			return fmt.Errorf("%s was acknowledged, and is not there", key)
		}
	}
	return wrongIf(len(w.acknowledged) == 0, "nothing was acknowledged")
}
