package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rekindle/agent/discovery"
	"rekindle/agent/status"
)

// peersPath is where the agent keeps what it knows of the others.
const peersPath = "/run/rekindle/peers.json"

// peersFlags are those of `status --peers`.
type peersFlags struct {
	on            bool
	roles, states []string
}

func (f *peersFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.on, "peers", false, "show the nodes of the cluster that this one knows of")
	c.Flags().StringSliceVar(&f.roles, "role", nil, "with --peers: those with one of these roles alone")
	c.Flags().StringSliceVar(&f.states, "state", nil, "with --peers: those that are alive, suspect, dead or left alone")
}

func (f *peersFlags) check(c *cobra.Command) error {
	known := []string{string(discovery.Alive), string(discovery.Suspect), string(discovery.Dead), string(discovery.Left)}
	for _, state := range f.states {
		if !slices.Contains(known, state) {
			return exit{exitUsage, fmt.Errorf("--state %q: use %s", state, strings.Join(known, ", "))}
		}
	}
	for name, with := range map[string]bool{"role": true, "state": true, "wait": false, "timeout": false} {
		if c.Flags().Changed(name) && with != f.on {
			return exit{exitUsage, fmt.Errorf("--%s and --peers: %s", name,
				map[bool]string{true: "the one needs the other", false: "use one of them"}[with])}
		}
	}
	return nil
}

// print writes the table, or the JSON of the same nodes, and exits with 3 when it is history.
func (f *peersFlags) print(c *cobra.Command, path, format string) error {
	peers, err := status.ReadPeers(path)
	if errors.Is(err, fs.ErrNotExist) {
		return exit{exitNotYet, fmt.Errorf("%s: the agent has not looked for other nodes since this one booted; "+
			"`rekindle status` says what it is at, and if it does not run: systemctl start rekindle", path)}
	}
	if err != nil {
		return err
	}
	if format == "json" {
		err = printJSON(c.OutOrStdout(), peers.Filter(f.roles, f.states))
	} else {
		view := status.PeersView{Roles: f.roles, States: f.states}
		if color, width := terminal(c.OutOrStdout()); color {
			view.Color, view.Width = color, width
		}
		err = peers.Text(c.OutOrStdout(), view)
	}
	if err == nil && peers.Stale() {
		return exit{code: exitNotYet}
	}
	return err
}
