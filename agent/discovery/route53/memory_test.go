package route53

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/smithy-go"
)

// asked is a request that reached the memory.
type asked struct {
	action string
	at     time.Time
}

// memory is an API of one zone. fault may answer in place of it; with the action "applied" it is asked once more after a
// batch was applied.
type memory struct {
	mu      sync.Mutex
	zones   []Zone
	records []Record
	asks    []asked
	fault   func(action string) error
}

func newMemory(records ...Record) *memory {
	return &memory{zones: []Zone{{ID: "Z1", Name: "k.example.com.", Private: true}}, records: records, fault: func(string) error { return nil }}
}

func apiError(code string) error { return &smithy.GenericAPIError{Code: code, Message: "by the test"} }

// silence is a request that nobody answers.
func silence(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// ask notes a request and holds the lock until it is answered.
func (m *memory) ask(ctx context.Context, action string) error {
	m.mu.Lock()
	m.asks = append(m.asks, asked{action, time.Now()})
	fault := m.fault
	m.mu.Unlock()
	err := fault(action)
	if errors.Is(err, errSilent) {
		err = silence(ctx)
	}
	return err
}

var errSilent = apiError("Silent")

func (m *memory) Zone(ctx context.Context, id string) (Zone, error) {
	if err := m.ask(ctx, "GetHostedZone"); err != nil {
		return Zone{}, err
	}
	for _, z := range m.zones {
		if z.ID == id {
			return z, nil
		}
	}
	return Zone{}, apiError("NoSuchHostedZone")
}

func (m *memory) ZonesNamed(ctx context.Context, name string) ([]Zone, error) {
	if err := m.ask(ctx, "ListHostedZonesByName"); err != nil {
		return nil, err
	}
	var some []Zone
	for _, z := range m.zones {
		if z.Name == name {
			some = append(some, z)
		}
	}
	return some, nil
}

func (m *memory) Records(ctx context.Context, zone string, _ Place) ([]Record, *Place, error) {
	if err := m.ask(ctx, "ListResourceRecordSets"); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	known := slices.ContainsFunc(m.zones, func(z Zone) bool { return z.ID == zone })
	m.mu.Unlock()
	if !known {
		return nil, nil, apiError("NoSuchHostedZone")
	}
	return m.all(), nil, nil
}

func (m *memory) Change(ctx context.Context, _ string, changes []Change) error {
	if err := m.ask(ctx, "ChangeResourceRecordSets"); err != nil {
		return err
	}
	m.mu.Lock()
	after := slices.Clone(m.records)
	for _, c := range changes {
		i := slices.IndexFunc(after, func(r Record) bool { return r.Name == c.Record.Name && r.Type == c.Record.Type })
		switch {
		case c.Action == Create && i < 0:
			after = append(after, c.Record)
		case c.Action == Delete && i >= 0 && after[i].TTL == c.Record.TTL && slices.Equal(after[i].Values, c.Record.Values):
			after = slices.Delete(after, i, i+1)
		default:
			m.mu.Unlock()
			return apiError("InvalidChangeBatch")
		}
	}
	m.records = after
	m.mu.Unlock()
	return m.fault("applied")
}

func (m *memory) all() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.records)
}

// api is the values of the API's A record.
func (m *memory) api() []string {
	for _, r := range m.all() {
		if r.Name == apiName && r.Type == "A" {
			return r.Values
		}
	}
	return nil
}

func (m *memory) count(action string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.asks {
		if a.action == action || action == "" {
			n++
		}
	}
	return n
}

// run starts a keeper that ends with the test.
func run(t *testing.T, api API, change func(*Options)) *Keeper {
	t.Helper()
	o := Options{Cluster: cluster, ZoneID: "Z1", API: api, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&o)
	}
	k, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return k
}

func update(t *testing.T, k *Keeper, v View) {
	t.Helper()
	if err := k.Update(v); err != nil {
		t.Fatal(err)
	}
}

// ranked is a view with a rank.
func ranked(rank int, v View) View {
	v.Rank = rank
	return v
}
