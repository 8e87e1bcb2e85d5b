package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"rekindle/agent/store"
)

// shaky is a store in memory that answers late, not at all, or not as it did.
type shaky struct {
	mu     sync.Mutex
	data   []byte
	writes int
	random *rand.Rand
	faults float64 // how many of the requests go wrong
}

// share is one node's way to it.
type share struct {
	*shaky
	store.Records // for what a lock must not use
	mu            sync.Mutex
	cut           chan struct{}     // while it is open, requests hang
	lose          chan func() error // holds what the next Put answers, whatever it did
}

// hang waits while the way is cut, and is sometimes slow.
func (s *share) hang(ctx context.Context) error {
	s.mu.Lock()
	cut := s.cut
	s.mu.Unlock()
	if cut != nil {
		select {
		case <-cut:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-time.After(time.Duration(s.chance(1) * float64(200*time.Millisecond))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *shaky) chance(of float64) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.Float64() * of
}

func (s *shaky) fault() bool { return s.chance(1) < s.faults }

func (s *shaky) version() store.Version {
	if s.data == nil {
		return ""
	}
	return store.Version(fmt.Sprint(s.writes))
}

func (s *share) Get(ctx context.Context, key string) ([]byte, store.Version, error) {
	if err := s.hang(ctx); err != nil {
		return nil, "", err
	}
	if s.fault() {
		return nil, "", errServer
	}
	s.shaky.mu.Lock()
	defer s.shaky.mu.Unlock()
	if key != lockKey || s.data == nil {
		return nil, "", fmt.Errorf("%s: %w", key, store.ErrAbsent)
	}
	return s.data, s.version(), nil
}

func (s *share) Put(ctx context.Context, _ string, data []byte, was store.Version) (store.Version, error) {
	if err := s.hang(ctx); err != nil {
		return "", err
	}
	if s.fault() { // 409 for a race that nobody won, or 5xx before anything was done
		return "", []error{store.ErrConflict, errServer}[int(s.chance(2))]
	}
	s.shaky.mu.Lock()
	taken := s.version() == was
	if taken {
		s.data = data
		s.writes++
	}
	version := s.version()
	s.shaky.mu.Unlock()
	select {
	case answer := <-s.lose:
		return "", answer()
	default:
	}
	if s.fault() { // the response is lost, and the SDK may have tried again: 412
		return "", []error{store.ErrConflict, errServer, context.DeadlineExceeded}[int(s.chance(3))]
	}
	if !taken {
		return "", store.ErrConflict
	}
	return version, nil
}

func newShaky(seed uint64, faults float64) *shaky {
	return &shaky{random: rand.New(rand.NewPCG(seed, 0)), faults: faults}
}

// node is a lock of one node, and its way to the store.
func (s *shaky) node(name string) (*store.Lock, *share) {
	way := &share{shaky: s, lose: make(chan func() error, 1)}
	return store.NewLock(way, lockKey, name, nil), way
}
