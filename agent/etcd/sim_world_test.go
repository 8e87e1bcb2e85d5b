package etcd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/plan"
)

// The world of these tests is a store, EC2, disks and etcd clusters in memory, in which real Keepers live. It is driven by
// one seed, in a bubble of synctest: the same seed is the same run. What can go wrong in it is in faults; what must not is
// checked after every effect (sim_check_test.go).

var (
	simSeeds = flag.Int("sim.seeds", 0, "seeds of each simulation; 0: what the test says")
	simAll   = flag.Bool("sim.all", false, "every fate at every point where an agent can end, which takes minutes")
	simSeed  = flag.Int64("sim.seed", -1, "only this seed, with its trace")
)

// faults are probabilities of each request, and of each moment.
type faults struct {
	store   float64 // a request goes wrong, in any of the ways that S3 has
	late    float64 // of the writes that fail, those that are done after the caller saw the failure
	ec2     float64 // no answer
	stale   float64 // an old answer
	members float64 // a call to etcd fails, done or not, or done late
	dial    float64 // members cannot be reached
	disk    float64 // a step on the disk fails
	latency time.Duration
}

var quiet = faults{latency: 20 * time.Millisecond}

// storm is everything at once, in several strengths.
func storm(seed uint64) faults {
	f := float64(1+seed%5) / 20
	return faults{store: f, late: 0.4, ec2: f, stale: 0.3, members: f, dial: f, disk: f / 10, latency: 300 * time.Millisecond}
}

type world struct {
	t      *testing.T
	seed   uint64
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	began  time.Time

	mu      sync.Mutex // held for an effect, never while time passes
	rng     *rand.Rand
	faults  faults
	want    int // masters that the Auto Scaling group keeps; 0: there is none
	returns float64
	nodes   []*node
	loose   []*volume // volumes whose instance ended before them
	outage  time.Time // until when the store answers nobody

	objects  map[string][]byte
	known    bool // there was a record once
	created  int  // records that were created
	record   *Lineage
	backups  []*saved
	cells    []*cell // etcd clusters, in the order in which they began
	written  int
	acked    map[int]bool
	forgiven map[int]bool // acknowledged, and lost by the rules
	lossy    int          // generations that lost something by the rules
	ids      uint64
	lines    []string
	failed   bool
	lenient  bool // nothing is checked
	stats    map[string]int
	victim   *node // whose agents are ended
}

// simulate runs one story in a bubble of its own.
func simulate(t *testing.T, seed uint64, f faults, story func(w *world)) *world {
	t.Helper()
	w := &world{t: t, seed: seed, faults: f, objects: map[string][]byte{}, acked: map[int]bool{}, forgiven: map[int]bool{},
		stats: map[string]int{}, rng: rand.New(rand.NewPCG(seed, 1))}
	synctest.Test(t, func(t *testing.T) {
		w.began = time.Now()
		w.ctx, w.cancel = context.WithCancel(t.Context())
		w.wg.Go(w.raft)
		w.wg.Go(w.scale)
		story(w)
		w.cancel()
		w.wg.Wait()
	})
	return w
}

// eachSeed spreads the seeds of a simulation over the processors.
func eachSeed(t *testing.T, n int, one func(t *testing.T, seed uint64)) {
	switch {
	case *simSeed >= 0:
		one(t, uint64(*simSeed))
		return
	case *simSeeds > 0:
		n = *simSeeds
	case testing.Short():
		n /= 10
	}
	shards := runtime.GOMAXPROCS(0)
	for shard := range shards {
		t.Run(fmt.Sprintf("shard %d", shard), func(t *testing.T) {
			t.Parallel()
			for seed := shard; seed < n && !t.Failed(); seed += shards {
				one(t, uint64(seed))
			}
		})
	}
}

// tell writes a line of the trace.
func (w *world) tell(who, format string, args ...any) {
	if len(w.lines) > 4000 {
		w.lines = w.lines[2000:]
	}
	w.lines = append(w.lines, fmt.Sprintf("%9.3f %-5s ", time.Since(w.began).Seconds(), who)+fmt.Sprintf(format, args...))
}

// fail says what is wrong, once, with the trace, and ends the world.
func (w *world) fail(format string, args ...any) {
	if w.failed {
		return
	}
	w.failed = true
	from := max(0, len(w.lines)-150)
	if *simSeed >= 0 {
		from = 0
	}
	w.t.Errorf("seed %d: %s\n%s\n%s", w.seed, fmt.Sprintf(format, args...), w.state(), strings.Join(w.lines[from:], "\n"))
	w.cancel()
}

// locked does something to the world at one instant, and checks it.
func (w *world) locked(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
	w.check()
}

// pass lets time go by; false: the world has ended.
func (w *world) pass(d time.Duration) bool {
	select {
	case <-time.After(d):
		return w.ctx.Err() == nil
	case <-w.ctx.Done():
		return false
	}
}

// until waits until the world is as wanted; false: it did not become so.
func (w *world) until(limit time.Duration, good func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		ok := false
		w.locked(func() { ok = good() })
		if ok {
			return true
		}
		if !w.pass(5 * time.Second) {
			return false
		}
	}
	return false
}

// chance is true with a probability; 0 takes no number from the generator.
func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

func (w *world) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.rng.Int64N(int64(to-from)+1))
}

// later does something when time has passed, whoever asked for it is dead or not.
func (w *world) later(d time.Duration, do func()) {
	w.wg.Go(func() {
		if w.pass(d) {
			w.locked(do)
		}
	})
}

var (
	errKilled = errors.New("the agent is dead")
	errFault  = errors.New("simulated: 503 Slow Down")
	errSlow   = errors.New("simulated: no answer in time")
)

// crash is where an agent ends: at its operation of a number, counted from 1.
type crash struct {
	at    int
	after bool // it took effect
	fails bool // the agent goes on, and the operation is an error
}

// agent is one process of the agent on a node.
type agent struct {
	w       *world
	n       *node
	ctx     context.Context
	cancel  context.CancelFunc
	rng     *rand.Rand // under w.mu
	dead    bool
	ops     int
	settled int // operations when it was last done with what it had to do
	crash   *crash
	names   []string // of the operations
	keeper  *Keeper
	word    *Word
	member  plan.Etcd
	wake    chan string
}

// op is everything that an agent does to the world: it takes time on the way there and back, the world may end the agent
// before or after, and nothing happens after that.
func (a *agent) op(ctx context.Context, what string, effect func() error) error {
	w := a.w
	w.mu.Lock()
	if a.dead {
		w.mu.Unlock()
		return errKilled
	}
	a.ops++
	if a.n.fate != nil || a.w.victim == a.n {
		a.names = append(a.names, what)
	}
	hit := a.crash != nil && a.crash.at == a.ops
	there, back := a.takes(), a.takes()
	if hit && !a.crash.after {
		defer w.mu.Unlock()
		if a.crash.fails {
			w.tell(a.n.name, "fails: %s", what)
			return errFault
		}
		a.crashed("before " + what)
		return errKilled
	}
	w.mu.Unlock()
	if err := a.sleep(ctx, there); err != nil {
		return err
	}
	if err := a.effect(what, hit, effect); err != nil {
		return err
	}
	return a.sleep(ctx, back)
}

func (a *agent) effect(what string, hit bool, effect func() error) error {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.dead {
		return errKilled
	}
	err := effect()
	switch {
	case hit && a.crash.fails:
		w.tell(a.n.name, "loses the answer of: %s", what)
		err = errSlow
	case hit:
		a.crashed("after " + what)
		err = errKilled
	}
	if verb, _, _ := strings.Cut(what, " "); !looks[verb] {
		w.check()
	}
	return err
}

// looks are operations that change nothing.
var looks = map[string]bool{"get": true, "trace": true, "list": true, "describe": true, "member": true, "inspect": true, "busy": true, "note?": true}

// takes is how long half an operation lasts. No two end at the same instant, so their order is the seed's.
func (a *agent) takes() time.Duration {
	return time.Millisecond + time.Duration(a.rng.Int64N(int64(a.w.faults.latency)))
}

func (a *agent) sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-a.ctx.Done():
		return errKilled
	}
}

// kill ends the agent at this instant. etcd, which is not its child, runs on.
func (a *agent) kill(why string) {
	if a.dead {
		return
	}
	a.w.tell(a.n.name, "the agent ends %s", why)
	a.dead = true
	a.cancel()
	if a.n.agent == a {
		a.n.agent = nil
	}
}

// crashed is a kill by the test, and what follows it.
func (a *agent) crashed(why string) {
	a.kill(why)
	if n := a.n; n.fate != nil {
		a.w.later(3*time.Second, func() { n.fate(n) })
	}
}

// random is the agent's part of the seed.
func (a *agent) random(n time.Duration) time.Duration {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	return time.Duration(a.rng.Int64N(int64(n)))
}

func (a *agent) chance(p float64) bool { return p > 0 && a.rng.Float64() < p }

var silentLogger = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))
