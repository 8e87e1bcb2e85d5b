package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/store"
)

type etcdRecoverFlags struct {
	lost            []string
	all, yes, force bool
}

func etcdRecoverCommand(flags *etcdFlags) *cobra.Command {
	var own etcdRecoverFlags
	command := &cobra.Command{
		Use:   "recover --lost MEMBER...|--all",
		Short: "say that members are lost for good, so that the masters go on without them",
		Long: `Masters rescue or restore by themselves once EC2 says that too many voters are terminated. This verb is for what EC2 cannot know: an
instance that is stopped for good, a member that was added by hand, an account that may not ask EC2.

It shows everything that is known, and what the masters will do, before it writes one word into the lineage: that a member is
lost. It never touches data. A member that comes back with its data takes the word back, as long as no new generation has begun.

It refuses when a quorum answers, or EC2 says that an instance still runs: etcd could live on there, out of sight, as a second
cluster. Terminate the instance instead; then nothing has to be recovered by hand.`,
		Example: `  rekindle etcd recover                                # only shows
  rekindle etcd recover --lost i-0a1b2c3d4e5f60718
  rekindle etcd recover --all --store s3://my-bucket/prod`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := flags.open(c)
			if err != nil {
				return err
			}
			return d.recover(c.Context(), own)
		},
	}
	set := command.Flags()
	set.StringArrayVar(&own.lost, "lost", nil, "a member that is lost for good, by its name or instance; repeat for several")
	set.BoolVar(&own.all, "all", false, "all members are lost")
	set.BoolVar(&own.force, "force", false, "in spite of what speaks against it")
	set.BoolVar(&own.yes, "yes", false, "do not ask")
	return command
}

func (d *desk) recover(ctx context.Context, own etcdRecoverFlags) error {
	if d.Unknown != nil {
		return fmt.Errorf("the lineage cannot be read, so nothing is known: %w; allow s3:GetObject and s3:ListBucket on the store", d.Unknown)
	}
	if d.Record == nil {
		return fmt.Errorf("%s: there is nothing to recover; if the cluster has lived, see `rekindle etcd adopt --help`", d.title())
	}
	asked, why := d.ask(ctx)
	states, err := d.states(ctx)
	if err != nil {
		why = strings.TrimPrefix(why+"; EC2 was not asked: "+err.Error(), "; ")
	}
	if err := d.showLosses(ctx, asked, why, states); err != nil {
		return err
	}
	if len(own.lost) == 0 && !own.all {
		return exit{exitUsage, errors.New("nothing was done: say who is lost, with --lost MEMBER for each, or --all")}
	}
	next, marked, err := etcd.MarkLost(d.Record, own.lost, own.all)
	if err != nil {
		return exit{exitUsage, err}
	}
	if err := d.foretell(ctx, next, marked, asked, states, own.force); err != nil {
		return err
	}
	if err := consent(own.yes, d.name(), d.out); err != nil {
		return err
	}
	err = d.operator.Swap(ctx, next, d.Version)
	if errors.Is(err, store.ErrConflict) {
		return d.changed(ctx)
	}
	if err != nil {
		return err
	}
	d.say("\nwritten: %s lost. The masters see it within a minute or two; follow them with `rekindle etcd members` and `rekindle status`.", strings.Join(marked, ", "))
	return nil
}

// showLosses prints all that is known.
func (d *desk) showLosses(ctx context.Context, asked *etcd.Asking, why string, states map[string]string) error {
	seen := membership{Members: etcd.Beside(d.Record, asked, states), Why: why, Waits: etcd.Waits(d.Record, asked)}
	if asked != nil {
		quorum := asked.View != nil
		seen.Quorum = &quorum
	}
	if err := d.printMembers(seen); err != nil {
		return err
	}
	candidates := backup.Candidates(d.Backups.Entries, etcd.AnyGeneration)
	d.say("\nbackups, the one that a restore begins with first:")
	for _, entry := range candidates[:min(3, len(candidates))] {
		reach := d.operator.Reach(ctx, entry)
		d.say("  %s, taken %s, reaches revision %d, %s", entry.ID, etcd.Age(time.Now(), entry.Taken), reach.Revision, etcd.Age(time.Now(), reach.Until))
	}
	if len(candidates) == 0 {
		d.say("  none")
	}
	return nil
}

// foretell prints what will follow, and refuses what must not be.
func (d *desk) foretell(ctx context.Context, next *etcd.Lineage, marked []string, asked *etcd.Asking, states map[string]string, force bool) error {
	answers := asked != nil && asked.View != nil
	outlook := etcd.Foresee(next, etcd.GoneIn(states), answers, backup.Candidates(d.Backups.Entries, etcd.AnyGeneration))
	var reach *etcd.Reach
	if d.Newest != nil {
		r := d.operator.Reach(ctx, *d.Newest)
		reach = &r
	}
	d.say("\nWith %s marked as lost:", strings.Join(marked, ", "))
	for _, s := range outlook.Steps {
		d.say("  %s: %s, since %s", s.Who, s.Action.Verdict, s.Action.Why)
	}
	d.say("")
	for _, line := range outlook.Cost(time.Now(), reach) {
		d.say("%s", line)
	}
	objections := etcd.Objections(next, marked, states, answers, outlook)
	for _, o := range objections {
		d.say("\nAGAINST IT: %s.\n  Instead: %s.", o.Why, o.Remedy)
	}
	if len(objections) > 0 && !force {
		return exit{exitFailed, errors.New("nothing was done, for what speaks against it; --force does it nevertheless")}
	}
	for _, m := range next.Everyone() {
		if _, known := states[m.Instance]; !known && m.Lost == etcd.ByOperator {
			d.say("\nEC2 said nothing about %s, the instance of %s. Be sure that no etcd runs there: it could go on as a second cluster.", m.Instance, m.Name)
		}
	}
	return nil
}

// changed tells that somebody else was faster, and shows what they wrote.
func (d *desk) changed(ctx context.Context) error {
	if err := d.look(ctx); err != nil {
		return err
	}
	d.say("\nThe lineage changed meanwhile. It is now:\n%s", d.title())
	return exit{exitFailed, errors.New("nothing was done: look at what it is now, and decide anew")}
}

// name is what has to be typed: the cluster's name, as far as anybody knows it.
func (d *desk) name() string {
	if d.Cluster != "" {
		return d.Cluster
	}
	for _, m := range d.Record.Everyone() {
		u, err := url.Parse(m.PeerURL)
		if err != nil {
			continue
		}
		if _, name, ok := strings.Cut(u.Hostname(), ".etcd.internal."); ok {
			return name
		}
	}
	return d.operator.Cluster
}
