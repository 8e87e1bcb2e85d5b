package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"rekindle/agent"
	"rekindle/agent/assets"
	"rekindle/agent/etcd"
)

// etcdFlags are those of all that `rekindle etcd` does.
type etcdFlags struct {
	shared                  *common
	name                    string // of the etcd cluster
	store, region, endpoint string
	pathStyle               bool
}

func etcdCommand(shared *common) *cobra.Command {
	command := &cobra.Command{
		Use:   "etcd",
		Short: "look at etcd's lineage, members and backups; take, verify and restore a backup; say what is lost, or true",
		Long: `Masters that die are replaced, and clusters that are gone restored, without any of these verbs. They are for looking, and for
what only a person can know. docs/etcd.md tells the rest.

On a node they take its own configuration. Elsewhere give --store; the credentials are the AWS SDK's.`,
		Args: arguments(cobra.NoArgs), // cobra's own refusal of an unknown verb would exit with 1
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, verb := range []func(*etcdFlags) *cobra.Command{
		etcdListCommand, etcdMembersCommand, etcdSnapshotCommand, etcdVerifyCommand, etcdRestoreCommand, etcdRecoverCommand, etcdAdoptCommand,
	} {
		flags := &etcdFlags{shared: shared}
		made := verb(flags)
		set := made.Flags()
		set.StringVar(&flags.name, "etcd", "main", "which etcd cluster: main or events")
		if made.Name() != "snapshot" { // which asks this node's member
			set.StringVar(&flags.store, "store", "", "s3://BUCKET/PREFIX or dir:///PATH; without it that of this node")
			set.StringVar(&flags.region, "region", "", "with --store: the bucket's region; without it the profile's")
			set.StringVar(&flags.endpoint, "endpoint", "", "with --store: URL of an S3-compatible store")
			set.BoolVar(&flags.pathStyle, "path-style", false, "with --store: address the bucket by path")
		}
		command.AddCommand(made)
	}
	return command
}

// desk is what a verb has before it: what it can reach, and what the store says.
type desk struct {
	*agent.Access
	etcd.Picture
	operator *etcd.Operator
	out, err io.Writer
}

// open reaches the store, and on a node its member, and reads what is there.
func (f *etcdFlags) open(c *cobra.Command) (*desk, error) {
	if !slices.Contains([]string{"main", "events"}, f.name) {
		return nil, exit{exitUsage, fmt.Errorf("--etcd %q: use main or events", f.name)}
	}
	if f.store == "" && (f.region != "" || f.endpoint != "" || f.pathStyle) {
		return nil, exit{exitUsage, errors.New("--region, --endpoint and --path-style say where --store is: give that, too")}
	}
	ctx := c.Context()
	options := agent.Options{Root: f.shared.root, Version: version, Logger: f.shared.logger(c.ErrOrStderr())}
	var access *agent.Access
	var err error
	if f.store != "" {
		access, err = agent.AccessStore(ctx, options, agent.Away{Store: f.store, Region: f.region, Endpoint: f.endpoint, PathStyle: f.pathStyle})
	} else {
		access, err = agent.AccessNode(ctx, options, f.name)
	}
	if errors.Is(err, agent.ErrNoStore) {
		err = exit{exitUsage, err}
	}
	if err != nil {
		return nil, err
	}
	d := &desk{Access: access, out: c.OutOrStdout(), err: c.ErrOrStderr()}
	d.operator = &etcd.Operator{Store: access.Store, Cluster: f.name, Logger: options.Logger}
	return d, d.look(ctx)
}

func (d *desk) look(ctx context.Context) (err error) {
	d.Picture, err = d.operator.Look(ctx)
	return err
}

// say prints lines of text.
func (d *desk) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, format+"\n", args...) // a reader that went away is not told that
}

// states is EC2's word on all instances of the record, and why there is none.
func (d *desk) states(ctx context.Context) (map[string]string, error) {
	if d.Record == nil {
		return nil, nil
	}
	return d.Instances(ctx, d.Record.Instances())
}

// ask asks the members. Nil and why, when they are not within reach.
func (d *desk) ask(ctx context.Context) (*etcd.Asking, string) {
	if d.Dial == nil {
		return nil, "etcd was not asked: only a node that carries a member of it has the certificates"
	}
	if d.Record == nil || len(d.Record.Endpoints()) == 0 {
		return nil, "etcd was not asked: there is no record of its members"
	}
	client, err := d.Dial(ctx, d.Record.Endpoints())
	if err != nil {
		return nil, "etcd was not asked: " + err.Error()
	}
	defer client.Close()
	asked := etcd.Ask(ctx, client, d.Record.Endpoints())
	return &asked, ""
}

// title is the first line of everything.
func (d *desk) title() string {
	text := d.Record.Title()
	if d.Unknown != nil {
		text = "the lineage cannot be read: " + d.Unknown.Error()
	}
	return fmt.Sprintf("etcd %s in %s: %s", d.operator.Cluster, d.Place, text)
}

// consent asks a person, who has to type want; yes stands for that.
func consent(yes bool, want string, out io.Writer) error {
	if yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return exit{exitUsage, errors.New("nothing was done: nobody is here to confirm it. In a script, give --yes")}
	}
	if _, err := fmt.Fprintf(out, "Type %s to go on: ", want); err != nil {
		return err
	}
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != want {
		return exit{exitFailed, errors.New("nothing was done: that was something else")}
	}
	return nil
}

func checkFormat(format string) error {
	if format != "text" && format != "json" {
		return exit{exitUsage, fmt.Errorf("--format %q: use text or json", format)}
	}
	return nil
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// columns prints a table; the first row is its head.
func columns(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if cell == "" {
				row[i] = "-"
			}
		}
		_, _ = fmt.Fprintln(t, strings.Join(row, "\t")) // Flush has the error
	}
	return t.Flush()
}

// tell shows how much of something is done, as publish does. Several may call at once, and overtake each other.
func (p *progress) tell(phase string) func(done, total int64) {
	var mu sync.Mutex
	most := int64(0)
	return func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		most = max(most, done)
		p.show(assets.Progress{Phase: phase, Done: most, Total: total})
	}
}
