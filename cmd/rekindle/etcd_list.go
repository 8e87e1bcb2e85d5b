package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/status"
)

func etcdListCommand(flags *etcdFlags) *cobra.Command {
	var format string
	command := &cobra.Command{
		Use:   "list",
		Short: "list the backups, by generation, after the lineage",
		Long: `The backup that a restore would begin with is marked with *. REACHES is the revision with its deltas. Exits with 3 when no backup is
complete.`,
		Example: `  rekindle etcd list
  rekindle etcd list --store s3://my-bucket/prod --format json | jq -r .newest`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			d, err := flags.open(c)
			if err != nil {
				return err
			}
			list := d.list(c.Context(), time.Now())
			if format == "json" {
				err = printJSON(d.out, list)
			} else {
				err = d.printList(list)
			}
			if err == nil && d.Newest == nil {
				return exit{code: exitNotYet}
			}
			return err
		},
	}
	command.Flags().StringVar(&format, "format", "text", "text or json")
	return command
}

// listing is what `etcd list` prints.
type listing struct {
	Cluster string        `json:"cluster"`
	Store   string        `json:"store"`
	Lineage *etcd.Lineage `json:"lineage"`
	Unknown string        `json:"unknown,omitempty"` // why the lineage cannot be read
	Newest  string        `json:"newest,omitempty"`
	Reach   *etcd.Reach   `json:"reach,omitempty"` // of the newest
	Backups []listed      `json:"backups"`
	Foreign []string      `json:"foreign"`
}

type listed struct {
	ID         string    `json:"id"`
	Generation int       `json:"generation"`
	Taken      time.Time `json:"taken"`
	Age        float64   `json:"ageSeconds"`
	Revision   int64     `json:"revision"`
	Reaches    int64     `json:"reaches"`
	Deltas     int       `json:"deltas"`
	Size       int64     `json:"size,omitempty"` // bytes of the database
	Stored     int64     `json:"stored"`         // bytes in the store
	UID        string    `json:"uid,omitempty"`
	State      string    `json:"state"` // complete, incomplete, damaged or unknown
	Why        string    `json:"why,omitempty"`
}

// manifestsAtOnce is how many manifests are read at a time.
const manifestsAtOnce = 16

func (d *desk) list(ctx context.Context, now time.Time) listing {
	l := listing{
		Cluster: d.operator.Cluster, Store: d.Place, Lineage: d.Record, Backups: make([]listed, len(d.Backups.Entries)),
		Foreign: append([]string{}, d.Backups.Foreign...),
	}
	if d.Unknown != nil {
		l.Unknown = d.Unknown.Error()
	}
	if d.Newest != nil {
		reach := d.operator.Reach(ctx, *d.Newest)
		l.Newest, l.Reach = d.Newest.ID, &reach
	}
	var group errgroup.Group // a manifest that cannot be read is told in its line
	group.SetLimit(manifestsAtOnce)
	for i, e := range d.Backups.Entries {
		l.Backups[i] = listed{
			ID: e.ID, Generation: e.Generation, Taken: e.Taken, Age: now.Sub(e.Taken).Seconds(), Revision: e.Revision, Reaches: e.Reaches(),
			Deltas: len(e.Deltas), Stored: e.Stored, State: "incomplete",
		}
		if !e.Complete {
			continue
		}
		group.Go(func() error {
			d.describe(ctx, e, &l.Backups[i])
			return nil
		})
	}
	_ = group.Wait()
	return l
}

func (d *desk) describe(ctx context.Context, e backup.Entry, l *listed) {
	m, err := backup.ReadManifest(ctx, d.Store, e)
	switch {
	case errors.Is(err, backup.ErrDamaged):
		l.State, l.Why = "damaged", err.Error()
	case err != nil:
		l.State, l.Why = "unknown", err.Error()
	default:
		l.State, l.Size, l.UID, l.Taken = "complete", m.Size, m.UID, m.Taken
	}
}

func (d *desk) printList(l listing) error {
	d.say("%s", d.title())
	generation := 0
	var rows [][]string
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		d.say("\ngeneration %d", generation)
		err := columns(d.out, append([][]string{{"  BACKUP", "AGE", "REVISION", "REACHES", "DELTAS", "SIZE", "STORED", "STATE"}}, rows...))
		rows = nil
		return err
	}
	for _, b := range l.Backups {
		if b.Generation != generation {
			if err := flush(); err != nil {
				return err
			}
			generation = b.Generation
		}
		mark, size := "  ", ""
		if b.ID == l.Newest {
			mark = "* "
		}
		if b.Size > 0 {
			size = status.Bytes(b.Size)
		}
		rows = append(rows, []string{
			mark + b.ID, age(b.Age), fmt.Sprint(b.Revision), fmt.Sprint(b.Reaches), fmt.Sprint(b.Deltas), size, status.Bytes(b.Stored),
			strings.TrimSuffix(b.State+": "+b.Why, ": "),
		})
	}
	if err := flush(); err != nil {
		return err
	}
	d.say("")
	if l.Reach == nil {
		d.say("no backup is complete: a loss of all masters would lose everything; see `rekindle status` on the leader's node")
	} else {
		d.say("* is what a restore would begin with: everything up to revision %d, the last of it stored at %s, %s", l.Reach.Revision,
			l.Reach.Until.UTC().Format(time.RFC3339), etcd.Age(time.Now(), l.Reach.Until))
	}
	if n := len(l.Foreign); n > 0 {
		d.say("no part of a backup, and left alone: %s: %s", etcd.Count(n, "object"), few(l.Foreign))
	}
	return nil
}

func few(all []string) string {
	const most = 5
	if len(all) > most {
		return strings.Join(all[:most], ", ") + ", ..."
	}
	return strings.Join(all, ", ")
}

// age is how old something is, in few characters; 0 for what a wrong clock puts into the future.
func age(seconds float64) string {
	d := time.Duration(max(0, seconds) * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}
