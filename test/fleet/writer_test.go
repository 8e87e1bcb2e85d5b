//go:build fleet

package fleet

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	writePrefix = "/fleet/"
	writePause  = 50 * time.Millisecond
	writeLimit  = 2 * time.Second
)

// writer writes one key after the other all the time, and remembers those that etcd acknowledged.
type writer struct {
	client *clientv3.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	acked   map[string]time.Time
	highest int64         // revision
	last    time.Time     // of an acknowledgement
	longest time.Duration // without one, since pause was asked for
	told    []string      // endpoints
}

func startWriter(ctx context.Context, client *clientv3.Client) *writer {
	ctx, stop := context.WithCancel(ctx)
	w := &writer{client: client, stop: stop, done: make(chan struct{}), acked: map[string]time.Time{}, last: time.Now()}
	go func() {
		defer close(w.done)
		for number := 0; ctx.Err() == nil; number++ {
			w.put(ctx, fmt.Sprintf("%s%06d", writePrefix, number))
			select {
			case <-ctx.Done():
			case <-time.After(writePause):
			}
		}
	}()
	return w
}

func (w *writer) put(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	answer, err := w.client.Put(ctx, key, key)
	if err != nil {
		return // nobody promised anything of this key
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.acked[key], w.highest = now, max(w.highest, answer.Header.Revision)
	w.longest, w.last = max(w.longest, now.Sub(w.last)), now
}

// speak has it speak to these endpoints alone.
func (w *writer) speak(endpoints []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(endpoints) > 0 && !slices.Equal(endpoints, w.told) {
		w.told = endpoints
		w.client.SetEndpoints(endpoints...)
	}
}

// pause is the longest time without an acknowledgement since it was asked for last.
func (w *writer) pause() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	longest := max(w.longest, time.Since(w.last))
	w.longest = 0
	return longest
}

// forgive gives up those keys that were acknowledged last before a moment, by as much as deltas of backups may be behind, if
// they are not there. It returns how many these are.
func (w *writer) forgive(ctx context.Context, before time.Time, by time.Duration) (int, error) {
	there, _, err := w.there(ctx)
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := 0
	for key, at := range w.acked {
		if !there[key] && at.Before(before) && before.Sub(at) <= by {
			delete(w.acked, key)
			lost++
		}
	}
	return lost, nil
}

// there are the keys that etcd has, each with its own value, and its revision.
func (w *writer) there(ctx context.Context) (map[string]bool, int64, error) {
	answer, err := w.client.Get(ctx, writePrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	there := map[string]bool{}
	for _, kv := range answer.Kvs {
		there[string(kv.Key)] = string(kv.Key) == string(kv.Value)
	}
	return there, answer.Header.Revision, nil
}

// check is an error unless etcd has every key that it acknowledged, and goes on acknowledging.
func (w *writer) check(ctx context.Context) (count int, err error) {
	w.mu.Lock()
	var keys []string
	for key := range w.acked {
		keys = append(keys, key)
	}
	last, highest := w.last, w.highest
	w.mu.Unlock()
	there, revision, err := w.there(ctx)
	if err != nil {
		return 0, err
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return there[key] })
	slices.Sort(keys)
	switch {
	case len(keys) > 0:
		return 0, fmt.Errorf("%d keys were acknowledged and are not there: %s", len(keys), strings.Join(keys[:min(len(keys), 5)], ", "))
	case revision < highest:
		return 0, fmt.Errorf("etcd is at revision %d, and was at %d", revision, highest)
	case time.Since(last) > writeLimit:
		return 0, fmt.Errorf("nothing was acknowledged for %s", time.Since(last).Round(time.Second))
	}
	return len(there), nil
}

func (w *writer) close() error {
	w.stop()
	<-w.done
	return w.client.Close()
}

// thousands writes a count as people do.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
