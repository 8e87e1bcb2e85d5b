package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/store"
)

type etcdAdoptFlags struct {
	members []string
	yes     bool
}

func etcdAdoptCommand(flags *etcdFlags) *cobra.Command {
	var own etcdAdoptFlags
	command := &cobra.Command{
		Use:   "adopt",
		Short: "say which data is the cluster's, when there is no lineage",
		Long: `For a cluster that has lived and has no record in the store.

On a node with data, of an etcd from elsewhere that was moved to /var/lib/etcd/<main or events>/data, or of a lineage whose record
was lost, a record of that data is written, and the member starts. Where there is none, anywhere, the record is that of the
newest backup, and the masters restore it by themselves.

A record is created, never replaced. No data is changed.`,
		Example: `  rekindle etcd adopt                                           # on the node that has the data
  rekindle etcd adopt --member node-b=i-0b1c2d3e4f5061728@10.0.1.5 --member node-c=i-0c1d2e3f405162738@10.0.2.5
  rekindle etcd adopt --store s3://my-bucket/prod               # all data is gone, and backups are there`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			others, err := etcd.ParseWhereabouts(own.members)
			if err != nil {
				return exit{exitUsage, err}
			}
			d, err := flags.open(c)
			if err != nil {
				return err
			}
			return d.adopt(c.Context(), others, own.yes)
		},
	}
	set := command.Flags()
	set.StringArrayVar(&own.members, "member", nil, "where another member of the data is: NAME=INSTANCE@ADDRESS; repeat for each")
	set.BoolVar(&own.yes, "yes", false, "do not ask")
	return command
}

func (d *desk) adopt(ctx context.Context, others map[string]etcd.Whereabouts, yes bool) error {
	known, err := d.adoptable(ctx, others)
	if err != nil {
		return err
	}
	adoption, err := etcd.Adopt(known, etcd.NewUID())
	if err != nil {
		return fmt.Errorf("etcd %s: %w", d.operator.Cluster, err)
	}
	d.say("%s", d.title())
	for _, line := range adoption.Says {
		d.say("%s", line)
	}
	if adoption.Record != nil {
		for _, m := range adoption.Record.Members {
			d.say("  member %s on %s, %s, peer URL %s", m.Name, m.Instance, m.Address, m.PeerURL)
		}
	}
	if adoption.Restores {
		reach := d.operator.Reach(ctx, *d.Newest)
		d.say("Lost: everything after revision %d, which that backup reaches; the last of it was stored at %s, %s.", reach.Revision,
			reach.Until.UTC().Format(time.RFC3339), etcd.Age(time.Now(), reach.Until))
	}
	if err := consent(yes, "yes", d.out); err != nil {
		return err
	}
	return d.write(ctx, adoption)
}

// adoptable gathers what adopt decides by.
func (d *desk) adoptable(ctx context.Context, others map[string]etcd.Whereabouts) (etcd.Adoptable, error) {
	a := etcd.Adoptable{Picture: d.Picture, Cluster: d.operator.Cluster, Instance: d.Instance, Member: d.Member, Others: others}
	if d.Newest != nil {
		manifest, err := backup.ReadManifest(ctx, d.Store, *d.Newest)
		if err != nil {
			return a, fmt.Errorf("%w; see `rekindle etcd verify`", err)
		}
		a.UID = manifest.UID
	}
	if d.Member == nil {
		return a, nil
	}
	dir, err := d.Path(d.Member.DataDir)
	if err != nil {
		return a, err
	}
	if a.Holding, err = etcd.Hold(ctx, dir, datadir.Options{}); err != nil {
		return a, err
	}
	if marker := a.Holding.Found.Marker; a.Holding.Found.State == datadir.Busy && marker != nil && d.Record == nil {
		a.View = d.view(ctx, marker.Member)
	}
	return a, nil
}

// view is what the etcd that runs here says of its members; nil when it has no quorum.
func (d *desk) view(ctx context.Context, member string) *peers.View {
	client, err := d.Dial(ctx, []peers.Endpoint{{Name: member, URL: d.Member.ClientURLOf(member), Address: d.Member.Address}})
	if err != nil {
		d.operator.Logger.Warn("etcd was not asked", "error", err)
		return nil
	}
	defer client.Close()
	view, err := client.View(ctx)
	if err != nil {
		d.operator.Logger.Warn("etcd does not say who its members are", "error", err)
		return nil
	}
	return &view
}

// write creates the record, and then the marker: cut between the two, adopt does the second alone.
func (d *desk) write(ctx context.Context, adoption etcd.Adoption) error {
	if adoption.Record != nil {
		err := d.operator.Create(ctx, adoption.Record)
		if errors.Is(err, store.ErrConflict) {
			return d.changed(ctx)
		}
		if err != nil {
			return err
		}
		d.say("\nwritten: %s", adoption.Record.Title())
	}
	if adoption.Marker != nil {
		dir, err := d.Path(d.Member.DataDir)
		if err != nil {
			return err
		}
		if err := datadir.WriteMarker(dir, *adoption.Marker); err != nil {
			return err
		}
		d.say("written: %s", datadir.MarkerPath(dir))
	}
	d.say("The masters see it within a minute or two; follow them with `rekindle etcd members` and `rekindle status`.")
	return nil
}
