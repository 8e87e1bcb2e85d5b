package facts

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/aws"
	"rekindle/agent/status"
)

const (
	requiredWait = 10 * time.Second // for a key that every instance has and that is not there yet
	parallelKeys = 6                // IMDS limits each network interface to 1024 packets a second
)

// IMDS reads one value below /latest/; it waits for a service that is late, and a missing key is aws.ErrNotFound.
// *aws.IMDS is the real one.
type IMDS interface {
	Get(ctx context.Context, key string) ([]byte, error)
}

// Metadata reads the instance metadata service, each value at most once. Make a new one to see what changed.
// It is safe for concurrent use.
type Metadata struct {
	imds IMDS
	mu   sync.Mutex
	read map[string]*value
}

// value is one key, read by the first who asks.
type value struct {
	turn chan struct{} // holds a token while nobody reads; a lock that a context can end the wait for
	done bool
	data string
	err  error // aws.ErrNotFound or nil once done
}

// NewMetadata makes no request.
func NewMetadata(imds IMDS) *Metadata {
	return &Metadata{imds: imds, read: map[string]*value{}}
}

// UserData is the instance's user-data as IMDS has it, or nil when there is none.
func (m *Metadata) UserData(ctx context.Context) ([]byte, error) {
	data, err := m.optional(ctx, "user-data")
	if data == "" || err != nil {
		return nil, err
	}
	return []byte(data), nil
}

// get reads key once. Errors other than a missing key are not kept: the next caller tries again.
func (m *Metadata) get(ctx context.Context, key string) (string, error) {
	m.mu.Lock()
	v := m.read[key]
	if v == nil {
		v = &value{turn: make(chan struct{}, 1)}
		v.turn <- struct{}{}
		m.read[key] = v
	}
	m.mu.Unlock()

	select {
	case <-v.turn:
		defer func() { v.turn <- struct{}{} }()
	case <-ctx.Done():
		return "", fmt.Errorf("imds: %s: %w", key, context.Cause(ctx))
	}
	if v.done {
		return v.data, v.err
	}
	data, err := m.imds.Get(ctx, key)
	if err != nil && !errors.Is(err, aws.ErrNotFound) {
		return "", err
	}
	v.done, v.data, v.err = true, string(data), err
	return v.data, v.err
}

func (m *Metadata) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.read, key)
}

// optional is "" for a key that is missing; a missing key is not asked for again.
func (m *Metadata) optional(ctx context.Context, key string) (string, error) {
	data, err := m.get(ctx, key)
	if errors.Is(err, aws.ErrNotFound) {
		return "", nil
	}
	return data, err
}

// required waits a little for a key that every instance has: early in a boot IMDS may know less than it will.
func (m *Metadata) required(ctx context.Context, key string) (string, error) {
	data, err := m.get(ctx, key)
	if !errors.Is(err, aws.ErrNotFound) {
		return data, err
	}
	ctx, cancel := context.WithTimeout(ctx, requiredWait)
	defer cancel()
	defer status.Waiting(ctx, "imds: "+key, "a key that every instance has")()
	for pause := 100 * time.Millisecond; errors.Is(err, aws.ErrNotFound); pause = min(2*pause, time.Second) {
		select {
		case <-ctx.Done():
			return "", status.Fail(status.ReasonIMDSUnreached, "stop and start the instance if IMDS does not recover",
				fmt.Errorf("imds: %s: %w", key, err))
		case <-time.After(pause/2 + rand.N(pause)):
		}
		m.forget(key)
		data, err = m.get(ctx, key)
	}
	return data, err
}

// Instance is who the instance is and where.
func (m *Metadata) Instance(ctx context.Context) (Instance, error) {
	// Alone and first: while IMDS is late, one request waits and not all of them.
	document, err := m.required(ctx, "dynamic/instance-identity/document")
	if err != nil {
		return Instance{}, err
	}
	instance, err := parseDocument(document)
	if err != nil {
		return Instance{}, err
	}
	mac, err := m.required(ctx, "meta-data/mac")
	if err != nil {
		return Instance{}, err
	}
	instance.MAC = strings.TrimSpace(mac)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelKeys)
	r := reading{Instance: instance}
	for _, k := range instanceKeys(instance.MAC) {
		group.Go(func() error {
			read := m.optional
			if k.required {
				read = m.required
			}
			text, err := read(ctx, k.name)
			if err != nil || text == "" {
				return err
			}
			if err := k.parse(&r, strings.TrimSpace(text)); err != nil {
				return fmt.Errorf("imds: %s: %w", k.name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Instance{}, err
	}
	return r.instance(), nil
}

// TargetLifecycleState is the Auto Scaling state that the instance is heading to, or "". It is read anew each time.
func (m *Metadata) TargetLifecycleState(ctx context.Context) (string, error) {
	const key = "meta-data/autoscaling/target-lifecycle-state"
	m.forget(key)
	state, err := m.optional(ctx, key)
	return strings.TrimSpace(state), err
}
