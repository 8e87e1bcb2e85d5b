//go:build fleet

package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"rekindle/agent/etcd"
	"rekindle/agent/status"
	lab "rekindle/test/lab/region"
)

// sizes are those of the groups, by role.
var sizes = map[string]int{"master": 3, "minion": 6, "loadbalancer": 2}

const (
	bootLimit = 2 * time.Minute
	lookEvery = 250 * time.Millisecond
	askLimit  = 20 * time.Second // of one look
)

// fleet is the cluster.
type fleet struct {
	*region
	t         *testing.T
	table     *os.File
	writer    *writer
	lineage   *etcd.Lineage // what it is to be: its UID and generation
	storeAway bool
	apart     map[string]bool // machines that the writer keeps away from
}

// TestFleet is the life of one cluster. Each scenario begins where the one before ended: with a cluster that is whole.
func TestFleet(t *testing.T) {
	f := open(t)
	f.boot()
	t.Run("the checks can fail", func(t *testing.T) { f.t = t; f.harm() })
	for _, s := range scenarios {
		if !t.Run(s.name, func(t *testing.T) { f.t = t; f.play(s) }) {
			break
		}
	}
}

// open makes a region, and sees that all of it ends.
func open(t *testing.T) *fleet {
	r, err := openRegion(t.Context(), os.Getenv(inside))
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.Create(filepath.Join(*outDir, "scenarios.txt"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{region: r, t: t, table: table, apart: map[string]bool{}}
	t.Cleanup(func() {
		ctx := context.Background()
		for _, m := range f.all() {
			if t.Failed() {
				if err := m.save(ctx, *outDir); err != nil {
					t.Log(m.ID, err)
				}
			}
		}
		if f.writer != nil {
			err = f.writer.close()
		}
		if err := errors.Join(err, r.close(), table.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

// boot makes the groups and begins to write.
func (f *fleet) boot() {
	start := time.Now()
	for role, profile := range map[string]string{"master": lab.MasterProfile, "minion": lab.NodeProfile, "loadbalancer": lab.NodeProfile} {
		if err := f.group(role, profile, sizes[role]); err != nil {
			f.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), bootLimit)
	defer cancel()
	f.await(ctx, "the masters are ready", func(ctx context.Context) error {
		masters := of(f.all(), "master")
		for _, m := range masters {
			if err := f.says(m); err != nil {
				return named(m, err)
			}
		}
		if len(masters) < sizes["master"] {
			return errors.New("not all are there")
		}
		return nil
	})
	client, err := f.etcd().Dial(nodes(of(f.all(), "master"))...)
	if err == nil {
		f.lineage, err = f.etcd().Lineage(ctx)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.writer = startWriter(context.WithoutCancel(f.t.Context()), client)
	f.await(ctx, "the cluster is whole", f.look)
	f.tell("first boot of 11 machines", bootLimit, time.Since(start), "")
}

// all are the machines that are there, in the order of their launch.
func (f *fleet) all() []*machine {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*machine
	for _, i := range f.cloud.Instances() {
		if m := f.machines[i.ID]; m != nil {
			all = append(all, m)
		}
	}
	return all
}

// endpoints are where clients speak to the etcd of some masters.
func (f *fleet) endpoints(masters []*machine) []string { return f.etcd().Endpoints(nodes(masters)...) }

// await is awaited, for the test's own goroutine.
func (f *fleet) await(ctx context.Context, what string, ask func(context.Context) error) {
	f.t.Helper()
	if err := f.awaited(ctx, ask); err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
}

// awaited asks until all is well, and returns the last answer when ctx ends. Meanwhile the writer is told where ready masters are.
func (f *fleet) awaited(ctx context.Context, ask func(context.Context) error) error {
	for {
		f.follow()
		asking, cancel := context.WithTimeout(ctx, askLimit)
		err := errors.Join(f.broken(), ask(asking))
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return fmt.Errorf("not in time: %w", err)
		}
	}
}

// broken is what went wrong with machines as such.
func (f *fleet) broken() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.errs...)
}

// follow has the writer speak to the masters that are ready.
func (f *fleet) follow() {
	if f.writer == nil {
		return
	}
	ready := slices.DeleteFunc(of(f.all(), "master"), func(m *machine) bool {
		s, err := m.status()
		return err != nil || f.apart[m.ID] || s.State != status.StateReady && s.State != status.StateDegraded
	})
	f.writer.speak(f.endpoints(ready))
}

// tell prints a line, and keeps it.
func (f *fleet) tell(scenario string, bound, took time.Duration, result string) {
	count, err := f.writer.check(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	line := fmt.Sprintf("%s | %s | %s | 11 nodes ready, %s keys of generation %d, writer waited %s%s\n", scenario, bound,
		took.Round(100*time.Millisecond), thousands(count), f.lineage.Generation, f.writer.pause().Round(100*time.Millisecond), result)
	fmt.Print(line)
	if _, err := f.table.WriteString(line); err != nil {
		f.t.Fatal(err)
	}
}
