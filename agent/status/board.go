package status

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"rekindle/agent/log"
)

const (
	// HeartbeatInterval is how often the file is written when nothing changes, so that a hung agent can be told.
	HeartbeatInterval = 10 * time.Second

	writeInterval = 100 * time.Millisecond // changes within it share one write
	changedShown  = 200                    // a first boot changes hundreds of paths; the file stays small
)

// Board holds the node's state and keeps a file equal to it. Its methods are safe for concurrent use, return at once,
// and do nothing on a nil Board, so that a verb may run the boot's code without one.
type Board struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	now     Status
	waits   map[uint64]Pending
	lastID  uint64
	closing bool

	writing sync.Mutex    // of the file: what is written later is newer
	changed chan struct{} // holds one token while the file is behind
	stop    chan struct{}
	done    chan error
}

// NewBoard starts to keep the file at path, in state booting. Close ends it; the file stays.
func NewBoard(path, version string, logger *slog.Logger) *Board {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	now := time.Now()
	ticks, _ := startTicks(os.Getpid()) // zero where there is no /proc; Read then trusts the PID alone
	b := &Board{
		path: path,
		log:  logger,
		now: Status{
			Version: Version,
			State:   StateBooting,
			Reason:  ReasonBooting,
			Since:   now,
			Agent:   Agent{Version: version, PID: os.Getpid(), StartTicks: ticks, Started: now, Heartbeat: now},
			Boot:    Boot{Started: now},
		},
		waits:   map[uint64]Pending{},
		changed: make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan error, 1),
	}
	b.changed <- struct{}{}
	go func() { b.done <- b.keep() }()
	return b
}

// Close writes the last state and ends the keeping of the file. It returns the error of that write.
func (b *Board) Close() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	closed := b.closing
	b.closing = true
	b.mu.Unlock()
	if closed {
		return nil
	}
	close(b.stop)
	return <-b.done
}

// Snapshot is the state of this moment.
func (b *Board) Snapshot() *Status {
	if b == nil {
		return &Status{Version: Version}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.now
	s.Boot.Sources = append([]Source{}, s.Boot.Sources...)
	s.Assets.Mirrors = slices.Clone(s.Assets.Mirrors)
	s.Apply.Changed = append([]string{}, s.Apply.Changed...)
	if s.Apply.At.IsZero() {
		s.Apply = Apply{}
	}
	s.Authorities = append([]Authority{}, s.Authorities...)
	s.Certificates = append([]Certificate{}, s.Certificates...)
	s.Join = s.Join.clone()
	s.Etcd = cloneEtcd(s.Etcd)
	s.Warnings = append([]Warning{}, s.Warnings...)
	s.Units = append([]Unit{}, s.Units...)
	s.Waits = make([]Pending, 0, len(b.waits))
	for _, id := range slices.Sorted(maps.Keys(b.waits)) {
		s.Waits = append(s.Waits, b.waits[id])
	}
	return &s
}

// SetIdentity says who the node is. It may be called again as more becomes known.
func (b *Board) SetIdentity(id Identity) {
	b.update(func(s *Status) { s.Identity = id })
}

// SetOnce says that the agent ends after the boot, so that its status stays true when it has.
func (b *Board) SetOnce() {
	b.update(func(s *Status) { s.Agent.Once = true })
}

// SetSources says where the layers of the configuration came from, lowest first.
func (b *Board) SetSources(sources ...Source) {
	sources = slices.Clone(sources)
	for i := range sources {
		sources[i].From = log.Redact(sources[i].From)
	}
	b.update(func(s *Status) { s.Boot.Sources = sources })
}

// SetAssets says where the assets came from.
func (b *Board) SetAssets(a Assets) {
	a.Source = log.Redact(a.Source)
	a.Mirrors = slices.Clone(a.Mirrors)
	for i := range a.Mirrors {
		a.Mirrors[i] = log.Redact(a.Mirrors[i])
	}
	b.update(func(s *Status) { s.Assets = a })
}

// Fetched says how many bytes came over the network for assets.
func (b *Board) Fetched(bytes int64) {
	b.update(func(s *Status) { s.Assets.Fetched = bytes })
}

// SetUnits replaces the list of units.
func (b *Board) SetUnits(units ...Unit) {
	b.update(func(s *Status) { s.Units = slices.Clone(units) })
}

// SetUnit replaces one unit in the list, or adds it at the end.
func (b *Board) SetUnit(unit Unit) {
	b.update(func(s *Status) {
		if i := slices.IndexFunc(s.Units, func(u Unit) bool { return u.Name == unit.Name }); i >= 0 {
			s.Units[i] = unit
			return
		}
		s.Units = append(s.Units, unit)
	})
}

// Applied records that a plan was applied. Changes is counted from changed; only the first of them go into the file.
func (b *Board) Applied(plan string, took time.Duration, changed ...string) {
	b.update(func(s *Status) {
		s.Apply = Apply{
			At:      time.Now(),
			Seconds: seconds(took),
			Changes: len(changed),
			Changed: slices.Clone(changed[:min(len(changed), changedShown)]),
			Plan:    plan,
		}
	})
}

// Begin announces a wait; see Waits.
func (b *Board) Begin(ctx context.Context, name, forWhat string) WaitFunc {
	return b.BeginOn(ctx, name, forWhat).Done
}

// BeginOn announces a wait that tells what it hears; see WaitingOn.
func (b *Board) BeginOn(ctx context.Context, name, forWhat string) *Ongoing {
	if b == nil {
		return new(Ongoing)
	}
	deadline, _ := ctx.Deadline()
	wait := Pending{Name: name, For: forWhat, Since: time.Now(), Deadline: deadline}
	var id uint64
	b.update(func(*Status) {
		b.lastID++
		id = b.lastID
		b.waits[id] = wait
	})
	return &Ongoing{
		update: func(last string) { b.answered(id, last) },
		done:   func() { b.update(func(*Status) { delete(b.waits, id) }) },
	}
}

// answerShown bounds a wait's last answer, in bytes: it may come from another machine.
const answerShown = 300

func (b *Board) answered(id uint64, last string) {
	last = bound(oneLine(log.Redact(last)), answerShown)
	b.update(func(*Status) {
		if wait, ok := b.waits[id]; ok {
			wait.Last = last
			b.waits[id] = wait
		}
	})
}

// update changes the state under the lock and lets the keeper know.
func (b *Board) update(change func(*Status)) {
	if b == nil {
		return
	}
	b.mu.Lock()
	change(&b.now)
	b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
}
