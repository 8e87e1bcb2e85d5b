package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/status"
)

type etcdVerifyFlags struct {
	restore         bool
	scratch, format string
}

func etcdVerifyCommand(flags *etcdFlags) *cobra.Command {
	var own etcdVerifyFlags
	command := &cobra.Command{
		Use:   "verify BACKUP|newest",
		Short: "read a backup back: its manifest, every chunk and every delta",
		Long: `Reads all of a backup, and compares every digest. With --restore it is restored into a scratch directory as well, and that is inspected
as before a start of etcd, and removed. Exits with 1 when something is damaged, and names it. It changes nothing in the store.`,
		Example: `  rekindle etcd verify newest --restore
  rekindle etcd verify 3/20261101T101112Z-48213 --store s3://my-bucket/prod`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(own.format); err != nil {
				return err
			}
			d, err := flags.open(c)
			if err != nil {
				return err
			}
			return d.verify(c.Context(), args[0], own)
		},
	}
	set := command.Flags()
	set.BoolVar(&own.restore, "restore", false, "restore it, too, into a scratch directory")
	set.StringVar(&own.scratch, "scratch", "", "where, with room for the database; without it the node's spool directory, or the system's for temporary files")
	set.StringVar(&own.format, "format", "text", "text or json")
	return command
}

func (d *desk) verify(ctx context.Context, id string, own etcdVerifyFlags) error {
	entry, err := d.Choose(id)
	if err != nil {
		return err
	}
	start := time.Now()
	bar := newProgress(d.err)
	checked, err := d.operator.Verify(ctx, entry, bar.tell("read"))
	if err == nil && own.restore && len(checked.Damaged) == 0 {
		var dir string
		if dir, err = d.scratch(own.scratch); err == nil {
			err = d.operator.Rehearse(ctx, entry, dir, datadir.Options{}, &checked, bar.tell("restore"))
		}
	}
	bar.end()
	if err != nil {
		return fmt.Errorf("backup %s could not be verified, which says nothing about it: %w", entry.ID, err)
	}
	if own.format == "json" {
		err = printJSON(d.out, checked)
	} else {
		d.printChecked(checked, time.Since(start))
	}
	if err == nil && len(checked.Damaged) > 0 {
		return exit{code: exitFailed}
	}
	return err
}

// scratch is a directory to restore below.
func (d *desk) scratch(given string) (string, error) {
	switch {
	case given != "":
		return given, nil
	case d.Spool != "":
		return d.Spool, os.MkdirAll(d.Spool, 0o700)
	}
	return os.TempDir(), nil
}

func (d *desk) printChecked(c etcd.Checked, took time.Duration) {
	for _, warning := range c.Warnings {
		d.say("warning: %s", warning)
	}
	if len(c.Damaged) > 0 {
		d.say("backup %s of etcd %s is DAMAGED:", c.Backup, d.operator.Cluster)
		for _, line := range c.Damaged {
			d.say("  %s", line)
		}
		d.say("a restore passes a damaged snapshot over, and stops before a damaged delta; take a new one: rekindle etcd snapshot")
		return
	}
	d.say("backup %s of etcd %s is sound: %s of database in %s, %s; revision %d, with its deltas %d; in %s", c.Backup, d.operator.Cluster,
		status.Bytes(c.Bytes), etcd.Count(c.Chunks, "chunk"), etcd.Count(c.Deltas, "delta"), c.Revision, c.Reaches, status.Duration(took))
	if c.Restored > 0 {
		d.say("restored, inspected and removed again: sound, at revision %d", c.Restored)
	}
}
