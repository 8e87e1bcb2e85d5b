package care

import (
	"context"
	"path/filepath"
	"time"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/status"
)

// asideFor is how long data that was set aside stays at least.
const asideFor = 30 * 24 * time.Hour

// asidesLimit bounds one look at them.
const asidesLimit = 10 * time.Minute

// asides shows what was set aside on this node, whoever leads, and removes what is old once a newer backup holds more.
func (c *Carer) asides(ctx context.Context) {
	for wait := c.pace.look; pause(ctx, wait); wait = c.pace.asides {
		if err := c.lookAside(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Warn("data that was set aside", "etcd", c.Member.Name, "error", err)
		}
	}
}

func (c *Carer) lookAside(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, asidesLimit)
	defer cancel()
	dir, err := c.Path(c.Member.DataDir)
	if err != nil {
		return err
	}
	all, err := datadir.Asides(dir)
	if err != nil {
		return err
	}
	if len(all) > 1 && time.Since(all[0].Since) >= asideFor { // the newest stays
		if err := c.pruneAside(ctx, dir); err != nil {
			return err
		}
		if all, err = datadir.Asides(dir); err != nil {
			return err
		}
	}
	shown := make([]status.EtcdAside, 0, len(all))
	for _, a := range all {
		shown = append(shown, status.EtcdAside{Path: filepath.Join(c.Member.DataDir, filepath.Base(a.Path)), Since: a.Since, Bytes: a.Bytes, Why: a.Why})
	}
	c.show(func(e *status.Etcd) { e.Aside = shown })
	return nil
}

// pruneAside asks the store first: without its word nothing is removed.
func (c *Carer) pruneAside(ctx context.Context, dir string) error {
	record, err := c.Keeper.Lineage(ctx, c.Member.Name)
	if err != nil || record == nil || record.State != etcd.Running {
		return err
	}
	entries, err := backup.List(ctx, c.Store, c.Member.Name)
	if err != nil {
		return err
	}
	removed, err := datadir.PruneAside(dir, asideFor, supersedes(record, entries, time.Now().Add(-asideFor)))
	for _, path := range removed {
		c.Logger.Info("old data that was set aside is removed: a newer backup exists", "etcd", c.Member.Name, "path", path)
	}
	return err
}

// supersedes tells of whose data the present lineage has a backup that is younger than since.
func supersedes(record *etcd.Lineage, entries []backup.Entry, since time.Time) func(datadir.Marker) bool {
	latest := backup.Latest(entries, record.Generation)
	return func(m datadir.Marker) bool {
		return latest != nil && latest.Taken.After(since) && latest.Modified.After(since) &&
			m.UID == record.UID && m.Generation <= record.Generation
	}
}
