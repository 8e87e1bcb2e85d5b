package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/status"
)

func etcdSnapshotCommand(flags *etcdFlags) *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "snapshot",
		Short: "take a backup of this node's member now, into the store or a file",
		Long: `Takes a full backup now, as the leader's node does by itself every etcd.backup.interval: it counts once all of it was read back.
With --to it writes what etcdctl snapshot save writes, with etcd's sum at its end. It changes nothing in etcd, and loses nothing.`,
		Example: `  rekindle etcd snapshot
  rekindle etcd snapshot --to /mnt/before-upgrade.db`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := flags.open(c)
			if err != nil {
				return err
			}
			return d.snapshot(c.Context(), file)
		},
	}
	command.Flags().StringVar(&file, "to", "", "write a plain snapshot to this file instead, which must not exist")
	return command
}

func (d *desk) snapshot(ctx context.Context, file string) error {
	if d.Member == nil {
		return fmt.Errorf("this node carries no member of etcd %s: run it on one that does, see `rekindle etcd members`", d.operator.Cluster)
	}
	self, err := d.self()
	if err != nil {
		return err
	}
	client, err := d.Dial(ctx, []peers.Endpoint{self})
	if err != nil {
		return err
	}
	defer client.Close()
	local, err := client.Local(self)
	if err != nil {
		return err
	}
	if file != "" {
		return d.save(ctx, local, self.Name, file)
	}
	return d.back(ctx, local, self.Name)
}

// self is this node's member, by the record, and without one by the marker of its data.
func (d *desk) self() (peers.Endpoint, error) {
	if d.Record != nil {
		for _, m := range d.Record.Members {
			if m.Instance == d.Instance && m.ClientURL != "" {
				return peers.Endpoint{Name: m.Name, URL: m.ClientURL, Address: m.Address}, nil
			}
		}
		return peers.Endpoint{}, fmt.Errorf("the lineage has no member of etcd %s on this instance, %s: run it on one of the nodes that "+
			"`rekindle etcd members` shows", d.operator.Cluster, d.Instance)
	}
	dir, err := d.Path(d.Member.DataDir)
	if err != nil {
		return peers.Endpoint{}, err
	}
	marker, err := datadir.ReadMarker(dir)
	if err != nil {
		return peers.Endpoint{}, err
	}
	if marker == nil {
		return peers.Endpoint{}, fmt.Errorf("etcd %s has no lineage, and %s no marker: there is no member here", d.operator.Cluster, dir)
	}
	return peers.Endpoint{Name: marker.Member, URL: d.Member.ClientURLOf(marker.Member), Address: d.Member.Address}, nil
}

// back takes a backup into the store.
func (d *desk) back(ctx context.Context, local *clientv3.Client, name string) error {
	if d.Record == nil || d.Record.State != etcd.Running {
		return errors.New("a backup belongs to a lineage that is running, and this is not one: " + d.title() + "; write a file instead, with --to")
	}
	d.say("%s", d.title())
	d.say("taking a full backup of member %s; it lies in %s until it is uploaded", name, d.Spool)
	taker, err := backup.NewTaker(backup.Options{
		Etcd: local, Blobs: d.Store, Records: d.Store, Cluster: d.operator.Cluster, UID: d.Record.UID, Generation: d.Record.Generation,
		Member: name, SpoolDir: d.Spool, Fence: d.operator.Fence(d.Record),
	})
	if err != nil {
		return err
	}
	start := time.Now()
	entry, manifest, err := taker.Take(ctx)
	if errors.Is(err, backup.ErrNotNow) {
		return exit{exitNotYet, fmt.Errorf("%w; see `rekindle etcd members`, and take it on another master", err)}
	}
	if err != nil {
		return err
	}
	d.say("backup %s: revision %d, %s, stored as %s, read back and found equal, in %s", entry.ID, manifest.Revision,
		status.Bytes(manifest.Size), status.Bytes(manifest.Stored), status.Duration(time.Since(start)))
	return nil
}

// save writes a plain snapshot.
func (d *desk) save(ctx context.Context, local *clientv3.Client, name, file string) error {
	d.say("writing a snapshot of member %s to %s", name, file)
	bar := newProgress(d.err)
	saved, err := etcd.Save(ctx, local, file, bar.tell("snapshot"))
	bar.end()
	if err != nil {
		return err
	}
	d.say("%s: %s with etcd's sum at its end, which is right: sha256 %s; from etcd %s, at revision %d or after it",
		saved.Path, status.Bytes(saved.Size), saved.SHA256, saved.Version, saved.Revision)
	return nil
}
