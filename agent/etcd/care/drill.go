package care

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/restore"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// drillKey is where what the last drill came to lies, so that a change of leaders does not repeat it.
func drillKey(cluster string) string { return "etcd/" + cluster + "/drill.json" }

// drillLooks is how often the time of the next drill is looked at.
const drillLooks = 5 * time.Minute

// drills tries a restore now and then: a backup that was never restored is a hope.
func (t *term) drills(ctx context.Context) {
	for wait := time.Minute; pause(ctx, wait); wait = min(drillLooks, t.Config.Drill/4) {
		last, was, err := t.lastDrill(ctx)
		if err != nil {
			t.Logger.Warn("restore drill", "etcd", t.Member.Name, "error", err)
			continue
		}
		if last != nil {
			t.show(func(e *status.Etcd) { e.Drill = last })
			if time.Since(last.At) < t.Config.Drill && time.Until(last.At) < time.Hour {
				continue
			}
		}
		entries, err := backup.List(ctx, t.Store, t.Member.Name)
		candidates := backup.Candidates(entries, t.record.Generation)
		if err != nil || len(candidates) == 0 {
			continue
		}
		result := t.Drill(ctx, candidates[0])
		if ctx.Err() != nil {
			return
		}
		t.show(func(e *status.Etcd) { e.Drill = &result })
		t.Logger.Info("restore drill", "etcd", t.Member.Name, "backup", result.Backup, "failed", result.Failed, "seconds", result.Seconds)
		data, err := json.MarshalIndent(result, "", "  ")
		if err == nil {
			_, err = t.Store.Put(ctx, drillKey(t.Member.Name), data, was)
		}
		if err != nil {
			t.Logger.Warn("restore drill: its result is not in the store", "etcd", t.Member.Name, "error", err)
		}
	}
}

func (t *term) lastDrill(ctx context.Context) (*status.EtcdDrill, store.Version, error) {
	data, was, err := t.Store.Get(ctx, drillKey(t.Member.Name))
	if errors.Is(err, store.ErrAbsent) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	var last status.EtcdDrill
	if err := json.Unmarshal(data, &last); err != nil {
		return nil, was, nil //nolint:nilerr // what makes no sense is written over
	}
	return &last, was, nil
}

// lastGood is the backup that the last drill restored.
func (t *term) lastGood() (id string) {
	t.show(func(e *status.Etcd) {
		if e.Drill != nil && e.Drill.Failed == "" {
			id = e.Drill.Backup
		}
	})
	return id
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
	spool, err := c.Path(c.Config.SpoolDir)
	if err != nil {
		return 0, err
	}
	scratch := filepath.Join(spool, "drill-"+c.Member.Name)
	if err := errors.Join(os.RemoveAll(scratch), os.MkdirAll(scratch, 0o700)); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	result, err := restore.Restore(ctx, c.Store, restore.Order{
		Backup: entry, Dir: datadir.Data(scratch), Part: datadir.Part(scratch), Name: "drill",
		PeerURL: "http://127.0.0.1:1", Token: "drill", Bump: restore.Bump, MaxEtcd: c.Member.Version, Log: c.Logger,
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
