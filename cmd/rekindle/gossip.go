package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent"
	"rekindle/agent/discovery/gossip"
	"rekindle/agent/store"
)

// gossipFlags are those of all that `rekindle gossip` does.
type gossipFlags struct {
	shared *common
	away   agent.Away
}

func gossipCommand(shared *common) *cobra.Command {
	command := &cobra.Command{
		Use:   "gossip",
		Short: "look at the keys that nodes encrypt their gossip with, and replace them",
		Long: `The keys lie in the store, discovery/keyring.json. The first master makes them; nobody needs this verb for that.
docs/discovery.md tells the rest.

On a node the verbs take its own configuration. Elsewhere give --store; the credentials are the AWS SDK's. Where
discovery.gossip.keyring names another place, use them on a node: keys shows what is there, and rotate says what to do.`,
		Args: arguments(cobra.NoArgs), // cobra's own refusal of an unknown verb would exit with 1
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, verb := range []func(*gossipFlags) *cobra.Command{gossipKeysCommand, gossipRotateCommand} {
		flags := &gossipFlags{shared: shared}
		made := verb(flags)
		set := made.Flags()
		set.StringVar(&flags.away.Store, "store", "", "s3://BUCKET/PREFIX or dir:///PATH; without it that of this node")
		set.StringVar(&flags.away.Region, "region", "", "with --store: the bucket's region; without it the profile's")
		set.StringVar(&flags.away.Endpoint, "endpoint", "", "with --store: URL of an S3-compatible store")
		set.BoolVar(&flags.away.PathStyle, "path-style", false, "with --store: address the bucket by path")
		command.AddCommand(made)
	}
	return command
}

// keysDesk is what a verb about keys has before it.
type keysDesk struct{ *agent.Keys }

// open reads the keys: those of this node, or those in a store.
func (f *gossipFlags) open(c *cobra.Command) (*keysDesk, error) {
	if at := f.away; at.Store == "" && at != (agent.Away{}) {
		return nil, exit{exitUsage, errors.New("--region, --endpoint and --path-style say where --store is: give that, too")}
	}
	options := agent.Options{Root: f.shared.root, Version: version, Logger: f.shared.logger(c.ErrOrStderr())}
	read := f.storeKeys
	if f.away.Store == "" {
		read = agent.NodeKeys
	}
	keys, err := read(c.Context(), options)
	switch {
	case errors.Is(err, agent.ErrNoStore):
		return nil, exit{exitUsage, err}
	case errors.Is(err, store.ErrAbsent) && !keys.Brought:
		return nil, exit{exitNotYet, fmt.Errorf("%s has no %s: the first master makes it, unless discovery.gossip.keyring names "+
			"another place: nodes of such a cluster know it, so use this verb there", keys.Place, gossip.KeyringKey)}
	case err != nil:
		return nil, err
	}
	return &keysDesk{keys}, nil
}

// storeKeys reads those of the store that the flags name.
func (f *gossipFlags) storeKeys(ctx context.Context, options agent.Options) (*agent.Keys, error) {
	access, err := agent.AccessStore(ctx, options, f.away)
	if err != nil {
		return nil, err
	}
	k := &agent.Keys{Place: access.Place, Store: access.Store}
	k.Ring, k.Version, err = gossip.ReadKeyring(ctx, k.Store)
	return k, err
}

// keyList is what `gossip keys` prints. It holds no secret.
type keyList struct {
	Store string      `json:"store"`          // or the reference that discovery.gossip.keyring names
	Keys  []listedKey `json:"keys"`           // the primary one first
	Next  string      `json:"next,omitempty"` // step of the rotation that is under way

	brought bool // the next step is the operator's
}

type listedKey struct {
	ID      string    `json:"id"`
	Made    time.Time `json:"made"`
	Primary bool      `json:"primary"`
}

func gossipKeysCommand(flags *gossipFlags) *cobra.Command {
	var format string
	command := &cobra.Command{
		Use:   "keys",
		Short: "list the keys by their ids, never the keys themselves, and the next step of a rotation",
		Long:  "Exits with 3 while a rotation is under way, and while there are no keys.",
		Example: `  rekindle gossip keys
  rekindle gossip keys --store s3://my-bucket/prod --format json | jq -r .next`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			d, err := flags.open(c)
			if err != nil {
				return err
			}
			list := d.list()
			if format == "json" {
				err = printJSON(c.OutOrStdout(), list)
			} else {
				err = list.print(c.OutOrStdout())
			}
			if err == nil && list.Next != "" {
				return exit{code: exitNotYet}
			}
			return err
		},
	}
	command.Flags().StringVar(&format, "format", "text", "text or json")
	return command
}

func (d *keysDesk) list() keyList {
	l := keyList{Store: d.Place, brought: d.Brought, Keys: []listedKey{{d.Ring.Primary.ID, d.Ring.Primary.Made, true}}}
	for _, key := range d.Ring.Others {
		l.Keys = append(l.Keys, listedKey{key.ID, key.Made, false})
	}
	_, l.Next, _ = d.Ring.Next()
	return l
}

func (l keyList) print(w io.Writer) error {
	rows := [][]string{{"KEY", "MADE", "USE"}}
	for _, key := range l.Keys {
		use := "understood"
		if key.Primary {
			use = "primary: all that is sent is encrypted with it"
		}
		rows = append(rows, []string{key.ID, key.Made.UTC().Format(time.RFC3339), use})
	}
	if err := columns(w, rows); err != nil {
		return err
	}
	next := "next: nothing; `rekindle gossip rotate` replaces the key"
	switch {
	case l.Next != "" && l.brought:
		next = fmt.Sprintf("next: %s; change %s so, five minutes after the step before", l.Next, l.Store)
	case l.Next != "":
		next = "next: " + l.Next + "; a master does that about five minutes after the step before"
	case l.brought:
		next = fmt.Sprintf("next: nothing; %s is yours to change: docs/discovery.md, Keys, has the steps", l.Store)
	}
	_, err := fmt.Fprintln(w, next)
	return err
}

func gossipRotateCommand(flags *gossipFlags) *cobra.Command {
	var yes bool
	command := &cobra.Command{
		Use:   "rotate",
		Short: "replace the key of gossip, without a node cut off",
		Long: `Adds a new key, which all nodes understand within two minutes. The masters do the rest: they have everybody encrypt with it,
and then drop the old one. Exits with 3 while a rotation is under way.`,
		Example: `  rekindle gossip rotate
  rekindle gossip rotate --store s3://my-bucket/prod --yes`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := flags.open(c)
			if err != nil {
				return err
			}
			return d.rotate(c.Context(), yes, c.OutOrStdout())
		},
	}
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return command
}

func (d *keysDesk) rotate(ctx context.Context, yes bool, w io.Writer) error {
	if d.Brought {
		return fmt.Errorf("nothing was done: discovery.gossip.keyring is %s, where only you write. Put the keys there in three steps, "+
			"with five minutes between them: a new key besides, the new one as primary, the old one gone; docs/discovery.md, Keys, "+
			"has the form, and `rekindle gossip keys` the next step", d.Place)
	}
	next, err := d.Ring.Rotate(time.Now())
	if errors.Is(err, gossip.ErrRotating) {
		return exit{exitNotYet, fmt.Errorf("%w; next: %s; see `rekindle gossip keys`", err, d.list().Next)}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s in %s gets a new key. Masters have all nodes encrypt with it, and then drop key %s: each step about five\n"+
		"minutes after the one before. A node that cannot read the store in that time is cut off from gossip until it can.\n",
		gossip.KeyringKey, d.Place, d.Ring.Primary.ID)
	if err != nil {
		return err
	}
	if err := consent(yes, "yes", w); err != nil {
		return err
	}
	fresh := next.Others[0]
	err = gossip.WriteKeyring(ctx, d.Store, next, d.Version)
	if errors.Is(err, store.ErrConflict) {
		// The other writer was this one if an answer was lost.
		if now, _, again := gossip.ReadKeyring(ctx, d.Store); again == nil && slices.Contains(now.Others, fresh) {
			err = nil
		} else {
			err = errors.New("nothing was done: somebody else changed the keys meanwhile; see `rekindle gossip keys`")
		}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "added: key %s. The masters end the rotation within about ten minutes: `rekindle gossip keys` then has that key alone.\n", fresh.ID)
	return err
}
