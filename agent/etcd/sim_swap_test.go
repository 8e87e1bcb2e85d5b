package etcd

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"rekindle/agent/store"
)

// answers is a store that does something with a Put, and says something else.
type answering struct {
	store.Records
	data   []byte
	put    func(r *answering, data []byte) error
	getErr error
}

func (r *answering) Get(context.Context, string) ([]byte, store.Version, error) {
	return r.data, etag(r.data), r.getErr
}

func (r *answering) Put(_ context.Context, _ string, data []byte, _ store.Version) (store.Version, error) {
	return "", r.put(r, data)
}

// An answer about a write is one of three: made, not made, or unknown, whatever the store has said.
func TestSwap(t *testing.T) {
	errConflict := fmt.Errorf("412: %w", store.ErrConflict)
	theirs := cluster(1, "b")
	others, err := theirs.encode()
	if err != nil {
		t.Fatal(err)
	}
	earlier := cluster(1, "b")
	earlier.Holder = Holder{Instance: "i-b", Nonce: "of another write"}
	own, err := earlier.encode()
	if err != nil {
		t.Fatal(err)
	}
	writes := func(answer error) func(*answering, []byte) error {
		return func(r *answering, data []byte) error { r.data = data; return answer }
	}
	refuses := func(answer error) func(*answering, []byte) error {
		return func(*answering, []byte) error { return answer }
	}
	for name, c := range map[string]struct {
		before []byte // nil: another instance's
		put    func(*answering, []byte) error
		getErr error
		want   error
	}{
		"made":                           {put: writes(nil)},
		"made, 412 to the SDK's retry":   {put: writes(errConflict)},
		"made, no answer":                {put: writes(errSlow)},
		"lost the race":                  {put: refuses(errConflict), want: store.ErrConflict},
		"409 and nobody won":             {put: refuses(errConflict), want: store.ErrConflict},
		"409, and our own last write":    {before: own, put: refuses(errConflict), want: store.ErrConflict},
		"5xx, not made":                  {put: refuses(errFault), want: errAgain},
		"412, and nobody can look":       {put: writes(errConflict), getErr: errFault, want: store.ErrConflict},
		"no answer, and nobody can look": {put: writes(errSlow), getErr: errFault, want: errAgain},
	} {
		t.Run(name, func(t *testing.T) {
			if c.before == nil {
				c.before = others
			}
			k := &Keeper{Records: &answering{data: c.before, put: c.put, getErr: c.getErr}, Instance: "i-b", Logger: silentLogger}
			if err := k.swap(t.Context(), "main", cluster(1, "a", "b"), etag(others)); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// A store that ignores If-None-Match is found out before anything is created in it.
func TestSelfTest(t *testing.T) {
	puts := 0
	r := &deaf{answering{put: func(*answering, []byte) error { puts++; return nil }}}
	k := &Keeper{Records: r, Instance: "i-a", Logger: silentLogger}
	if err := k.selfTest(t.Context(), "main"); err == nil || errors.Is(err, errAgain) || puts != 2 {
		t.Errorf("%v after %d writes", err, puts)
	}
	r.put = func(*answering, []byte) error {
		if puts++; puts%2 == 0 {
			return store.ErrConflict
		}
		return nil
	}
	if err := k.selfTest(t.Context(), "main"); err != nil {
		t.Error(err)
	}
	r.put = func(*answering, []byte) error { return errSlow }
	if err := k.selfTest(t.Context(), "main"); !errors.Is(err, errAgain) {
		t.Errorf("%v: nobody knows yet", err)
	}
}

type deaf struct{ answering }

func (*deaf) Delete(context.Context, string) error { return nil }
