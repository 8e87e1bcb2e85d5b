package care

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/restore"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// drillKey is where what the last drill came to lies, so that a change of leaders does not repeat it.
func drillKey(cluster string) string { return "etcd/" + cluster + "/drill.json" }

// drilled is that record: the last drill, and whether one is under way.
type drilled struct {
	status.EtcdDrill
	Good  string    `json:"good,omitempty"` // the backup that was restored last without a fault
	Begun time.Time `json:"begun,omitzero"` // since when one is under way; zero: none is
	By    string    `json:"by,omitempty"`   // the instance that does it
}

const (
	drillLimit    = time.Hour
	drillSkew     = 2 * time.Hour // between two nodes' clocks; what is further ahead is nonsense
	drillParallel = 2             // ranges read at once: nobody waits for it
	drillReserve  = 512 << 20     // bytes that stay free beside a drill and a backup
)

// due tells whether a drill is to be done. Times are those of other nodes' clocks, so one that is off by an hour makes a
// drill so much earlier or later, and never two at a time.
func (d *drilled) due(now time.Time, every time.Duration) bool {
	if since := now.Sub(d.Begun); !d.Begun.IsZero() && since > -drillSkew && since < drillLimit+drillSkew {
		return false
	}
	since := now.Sub(d.At)
	return d.At.IsZero() || since >= every || since < -drillSkew
}

// drills tries a restore now and then: a backup that was never restored is a hope.
func (t *term) drills(ctx context.Context) {
	every := min(t.pace.drill, t.Config.Drill/4)
	for wait := every / 4; pause(ctx, wait); wait = every {
		if err := t.drillIfDue(ctx); err != nil && ctx.Err() == nil {
			t.Logger.Warn("restore drill", "etcd", t.Member.Name, "error", err)
		}
	}
}

func (t *term) drillIfDue(ctx context.Context) error {
	last, was, err := t.lastDrill(ctx)
	if err != nil {
		return err
	}
	if !last.At.IsZero() {
		t.show(func(e *status.Etcd) { e.Drill = &last.EtcdDrill })
	}
	if !last.due(time.Now(), t.Config.Drill) {
		return nil
	}
	entries, err := backup.List(ctx, t.Store, t.Member.Name)
	if err != nil {
		return err
	}
	candidates := backup.Candidates(entries, t.record.Generation)
	if len(candidates) == 0 {
		return nil
	}
	return t.drillNow(ctx, candidates[0], last, was)
}

// drillNow does a drill that no other node does meanwhile, for it has said so in the record before.
func (t *term) drillNow(ctx context.Context, entry backup.Entry, last drilled, was store.Version) error {
	if err := t.drillRoom(ctx, entry); err != nil {
		result := status.EtcdDrill{At: time.Now().UTC(), Backup: entry.ID, Failed: err.Error()}
		t.show(func(e *status.Etcd) { e.Drill = &result })
		return err // another node may have the room
	}
	next := last
	next.Begun, next.By = time.Now().UTC(), t.Instance
	claim, err := t.putDrill(ctx, next, was)
	if errors.Is(err, store.ErrConflict) {
		return nil // another node was faster
	}
	if err != nil {
		return err
	}
	result := t.Drill(ctx, entry)
	next.Begun, next.By = time.Time{}, ""
	if ctx.Err() == nil { // else it is somebody else's, and unfinished
		next.EtcdDrill = result
		if result.Failed == "" {
			next.Good = entry.ID
		}
		t.show(func(e *status.Etcd) { e.Drill = &result })
		t.Logger.Info("restore drill", "etcd", t.Member.Name, "backup", result.Backup, "failed", result.Failed, "seconds", result.Seconds)
	}
	return t.endDrill(ctx, next, claim)
}

// endDrill writes what a drill came to, for a while also if the term is over.
func (t *term) endDrill(ctx context.Context, next drilled, claim store.Version) error {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for {
		_, err := t.putDrill(ctx, next, claim)
		if err == nil || errors.Is(err, store.ErrConflict) || !pause(ctx, t.pace.retry) {
			return err
		}
	}
}

func (t *term) putDrill(ctx context.Context, record drilled, was store.Version) (store.Version, error) {
	data, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return "", err
	}
	return t.Store.Put(ctx, drillKey(t.Member.Name), append(data, '\n'), was)
}

// lastDrill is the record; zero without one.
func (t *term) lastDrill(ctx context.Context) (last drilled, was store.Version, err error) {
	data, was, err := t.Store.Get(ctx, drillKey(t.Member.Name))
	if errors.Is(err, store.ErrAbsent) {
		return drilled{}, "", nil
	}
	if err != nil {
		return drilled{}, "", err
	}
	if json.Unmarshal(data, &last) != nil {
		return drilled{}, was, nil // what makes no sense is written over
	}
	return last, was, nil
}

// drillRoom says whether a restored database fits beside the next snapshot.
func (c *Carer) drillRoom(ctx context.Context, entry backup.Entry) error {
	spool, err := c.Path(c.Config.SpoolDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return err
	}
	manifest, err := backup.ReadManifest(ctx, c.Store, entry)
	if err != nil {
		return nil //nolint:nilerr // that is for the drill to tell
	}
	free, err := c.freeSpace(spool)
	if err != nil {
		return err
	}
	need := 2*manifest.Size + manifest.Size/5 + drillReserve
	if free < need {
		return fmt.Errorf("%s: %d MiB are free, but %d MiB are needed to try a restore: make room, or set etcd.backup.spoolDir",
			spool, free>>20, need>>20)
	}
	return nil
}

func (c *Carer) freeSpace(dir string) (int64, error) {
	if c.free != nil {
		return c.free(dir)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(disk.Bavail) * disk.Bsize, nil
}

// Drill restores a backup, with its deltas, into a directory beside the spool, has the result inspected, and removes it.
func (c *Carer) Drill(ctx context.Context, entry backup.Entry) status.EtcdDrill {
	result := status.EtcdDrill{Backup: entry.ID}
	start := time.Now()
	revision, err := c.drill(ctx, entry)
	result.At, result.Seconds, result.Revision = time.Now().UTC(), time.Since(start).Seconds(), revision
	if err != nil {
		result.Failed = err.Error()
	}
	return result
}

func (c *Carer) drill(ctx context.Context, entry backup.Entry) (revision int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, drillLimit, fmt.Errorf("not restored within %s", drillLimit))
	defer cancel()
	if err := c.clearScratch(); err != nil {
		return 0, err
	}
	scratch, err := c.scratch()
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.clearScratch()) }()
	result, err := restore.Restore(ctx, c.Store, restore.Order{
		Backup: entry, Dir: datadir.Data(scratch), Part: datadir.Part(scratch), Name: "drill",
		PeerURL: "http://127.0.0.1:1", Token: "drill", Bump: restore.Bump, MaxEtcd: c.Member.Version, Parallel: drillParallel, Log: c.Logger,
	})
	if err != nil {
		return 0, err
	}
	found, err := datadir.Inspect(ctx, scratch, c.Offline)
	switch {
	case err != nil:
		return result.Reached, err
	case found.State != datadir.Sound:
		return result.Reached, fmt.Errorf("what was restored is %s: %s", found.State, found.Why)
	case result.Reached < entry.Reaches():
		return result.Reached, fmt.Errorf("it reaches revision %d, by its listing %d", result.Reached, entry.Reaches())
	}
	return result.Reached, nil
}

func (c *Carer) scratch() (string, error) {
	spool, err := c.Path(c.Config.SpoolDir)
	return filepath.Join(spool, "drill-"+c.Member.Name), err
}

// clearScratch removes what a drill leaves, also one that was cut.
func (c *Carer) clearScratch() error {
	scratch, err := c.scratch()
	if err != nil {
		return err
	}
	return os.RemoveAll(scratch)
}
