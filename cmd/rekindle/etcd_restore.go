package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/restore"
	"rekindle/agent/status"
)

type etcdRestoreFlags struct {
	to, name, peerURL, token string
	bump                     uint64
	noDeltas, yes            bool
}

func etcdRestoreCommand(flags *etcdFlags) *cobra.Command {
	var own etcdRestoreFlags
	command := &cobra.Command{
		Use:   "restore --to DIR [BACKUP|newest]",
		Short: "make a data directory of a backup, to look into or to run by hand",
		Long: `Makes etcd's data directory of one member, in a directory that does not exist yet, and prints the command that starts it. Neither the
cluster, its lineage nor any member of it is touched: masters restore by themselves when all are gone.

Revisions are raised by --bump, and what is below is marked as compacted, so that clients of the old cluster do not take old for
new. --bump 0 leaves them as they are, to look into.`,
		Example: `  rekindle etcd restore --to /mnt/forensics --bump 0
  rekindle etcd restore --to /mnt/x 2/20261101T101112Z-48213 --store s3://my-bucket/prod --yes`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if own.to == "" {
				return exit{exitUsage, errors.New("where to? give --to DIR, a directory that does not exist yet")}
			}
			roots := []string{etcd.DataRoot, flags.shared.path(etcd.DataRoot)}
			if err := etcd.CheckTarget(own.to, roots...); err != nil {
				return exit{exitUsage, err}
			}
			d, err := flags.open(c)
			if err != nil {
				return err
			}
			entry, err := d.Choose(strings.Join(args, ""))
			if err != nil {
				return err
			}
			return d.restore(c.Context(), entry, own)
		},
	}
	set := command.Flags()
	set.StringVar(&own.to, "to", "", "the data directory to make; it must not exist, or be empty")
	set.StringVar(&own.name, "name", "restored", "the member's name")
	set.StringVar(&own.peerURL, "peer-url", "http://127.0.0.1:12380", "the member's peer URL")
	set.StringVar(&own.token, "token", "", "initial cluster token; without it one of its own")
	set.Uint64Var(&own.bump, "bump", restore.Bump, "raise revisions by this, and mark what is below as compacted; 0: leave them")
	set.BoolVar(&own.noDeltas, "no-deltas", false, "the snapshot alone")
	set.BoolVar(&own.yes, "yes", false, "do not ask")
	return command
}

func (d *desk) restore(ctx context.Context, entry backup.Entry, own etcdRestoreFlags) error {
	if own.noDeltas {
		entry.Deltas = nil
	}
	manifest, err := backup.ReadManifest(ctx, d.Store, entry)
	if err != nil {
		return fmt.Errorf("%w; choose another: rekindle etcd list", err)
	}
	dir, err := filepath.Abs(own.to)
	if err != nil {
		return err
	}
	d.explainRestore(ctx, entry, manifest, dir, own)
	if err := consent(own.yes, "yes", d.out); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) { // it is empty, or this fails
		return fmt.Errorf("%w: give a directory that does not exist yet", err)
	}
	if own.token == "" {
		own.token = "restored-" + etcd.NewUID()
	}
	order := restore.Order{
		Backup: entry, Dir: dir, Part: filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".rekindle-part"), Name: own.name,
		PeerURL: own.peerURL, Token: own.token, Bump: own.bump, Log: d.operator.Logger,
	}
	if d.Member != nil {
		order.MaxEtcd = d.Member.Version
	}
	bar := newProgress(d.err)
	order.Progress = bar.tell("restore")
	start := time.Now()
	result, err := restore.Restore(ctx, d.Store, order)
	bar.end()
	if err != nil {
		return err
	}
	for _, warning := range result.Warnings {
		d.say("warning: %s", warning)
	}
	d.say("\n%s: %s, %d revisions of keys, everything up to revision %d, now at revision %d, in %s. To start it:", dir,
		status.Bytes(result.Bytes), result.Keys, result.Reached, result.Revision, status.Duration(time.Since(start)))
	d.say("  %s", startCommand(dir, own))
	return nil
}

func (d *desk) explainRestore(ctx context.Context, entry backup.Entry, m backup.Manifest, dir string, own etcdRestoreFlags) {
	reach := d.operator.Reach(ctx, entry)
	d.say("%s", d.title())
	d.say("backup %s, taken %s from member %s by etcd %s: %s, revision %d", entry.ID, etcd.Age(time.Now(), m.Taken), m.Member, m.EtcdVersion,
		status.Bytes(m.Size), m.Revision)
	d.say("with %s it reaches revision %d, stored %s", etcd.Count(reach.Deltas, "delta"), reach.Revision, etcd.Age(time.Now(), reach.Until))
	d.say("It becomes %s, of one member %s in a cluster of its own. It will not contain:", dir, own.name)
	d.say("  - what was written after revision %d, the last of which was stored at %s", reach.Revision, reach.Until.UTC().Format(time.RFC3339))
	d.say("  - the other members of the cluster that it is from")
	if own.bump > 0 {
		d.say("  - history: only the present value of each key can be read, at revision %d and above", reach.Revision+int64(own.bump))
	}
	if d.Record != nil && entry.Generation < d.Record.Generation {
		d.say("It is of generation %d, and the cluster of generation %d: what came between is not in it.", entry.Generation, d.Record.Generation)
	}
	d.say("The cluster, its lineage and its members are not touched.")
}

// startCommand starts what was restored. Clients find it at the port below that of peers.
func startCommand(dir string, own etcdRestoreFlags) string {
	client := "http://127.0.0.1:12379"
	if u, err := url.Parse(own.peerURL); err == nil {
		if port, err := strconv.Atoi(u.Port()); err == nil {
			client = "http://" + net.JoinHostPort(u.Hostname(), strconv.Itoa(port-1))
		}
	}
	return fmt.Sprintf("etcd --name %s --data-dir %s --listen-client-urls %s --advertise-client-urls %s --listen-peer-urls %s "+
		"--initial-advertise-peer-urls %s --initial-cluster %s=%s --initial-cluster-token %s", quoted(own.name), quoted(dir), quoted(client), quoted(client),
		quoted(own.peerURL), quoted(own.peerURL), quoted(own.name), quoted(own.peerURL), quoted(own.token))
}

// quoted is a word that a shell takes for one.
func quoted(word string) string {
	if !strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/:._-", r)
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
