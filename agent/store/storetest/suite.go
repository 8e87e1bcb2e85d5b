// Package storetest is the contracts of store.Records and store.Blobs as suites that every implementation passes.
package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"rekindle/agent/store"
)

// Run puts records through the contract. Each call of open returns an empty store.
func Run(t *testing.T, open func(t *testing.T) store.Records) {
	for name, test := range map[string]func(*testing.T, store.Records){
		"absent": absent, "create": create, "replace": replace, "delete": remove, "list": list, "race": race,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func absent(t *testing.T, records store.Records) {
	if _, _, err := records.Get(t.Context(), "a/b.json"); !errors.Is(err, store.ErrAbsent) {
		t.Errorf("error %v, want ErrAbsent", err)
	}
	if err := records.Delete(t.Context(), "a/b.json"); err != nil {
		t.Errorf("deleting what is not there: %v", err)
	}
	if _, err := records.Put(t.Context(), "a/b.json", []byte("x"), "some-version"); err == nil {
		t.Error("replaced a record that does not exist")
	}
}

func put(t *testing.T, records store.Records, key, text string, was store.Version) store.Version {
	t.Helper()
	version, err := records.Put(t.Context(), key, []byte(text), was)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func create(t *testing.T, records store.Records) {
	made := put(t, records, "a/b.json", "one", "")
	data, version, err := records.Get(t.Context(), "a/b.json")
	if err != nil || string(data) != "one" || version != made {
		t.Errorf("got %q at %q (made %q), error %v", data, version, made, err)
	}
	if _, err := records.Put(t.Context(), "a/b.json", []byte("two"), ""); !errors.Is(err, store.ErrConflict) {
		t.Errorf("second creation: %v, want ErrConflict", err)
	}
}

func replace(t *testing.T, records store.Records) {
	first := put(t, records, "r.json", "one", "")
	second := put(t, records, "r.json", "two", first)
	if second == first {
		t.Error("the version did not change with the content")
	}
	if _, err := records.Put(t.Context(), "r.json", []byte("three"), first); !errors.Is(err, store.ErrConflict) {
		t.Errorf("replacing an older version: %v, want ErrConflict", err)
	}
	if data, _, err := records.Get(t.Context(), "r.json"); err != nil || string(data) != "two" {
		t.Errorf("got %q, error %v", data, err)
	}
}

func remove(t *testing.T, records store.Records) {
	put(t, records, "d.json", "one", "")
	if err := records.Delete(t.Context(), "d.json"); err != nil {
		t.Fatal(err)
	}
	put(t, records, "d.json", "again", "")
}

func list(t *testing.T, records store.Records) {
	if keys, err := records.List(t.Context(), "etcd/", 0); err != nil || len(keys) != 0 {
		t.Errorf("an empty store lists %v, error %v", keys, err)
	}
	for _, key := range []string{"etcd/main/x", "etcd/main/y", "etcd/mainly", "other"} {
		put(t, records, key, "1", "")
	}
	keys, err := records.List(t.Context(), "etcd/main/", 0)
	if err != nil || !slices.Equal(keys, []string{"etcd/main/x", "etcd/main/y"}) {
		t.Errorf("listed %v, error %v", keys, err)
	}
	if keys, err := records.List(t.Context(), "etcd/", 1); err != nil || len(keys) != 1 {
		t.Errorf("with limit 1 listed %v, error %v", keys, err)
	}
}

// race lets ten writers create the same record: exactly one may believe that it did.
func race(t *testing.T, records store.Records) {
	for round := range 10 {
		var winners atomic.Int32
		var writers sync.WaitGroup
		for n := range 10 {
			writers.Go(func() {
				_, err := records.Put(t.Context(), fmt.Sprintf("race-%d", round), []byte{byte(n)}, "")
				if err == nil {
					winners.Add(1)
				} else if !errors.Is(err, store.ErrConflict) {
					t.Error(err)
				}
			})
		}
		writers.Wait()
		if winners.Load() != 1 {
			t.Errorf("round %d: %d winners", round, winners.Load())
		}
	}
}
