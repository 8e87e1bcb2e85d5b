package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent/status"
)

func statusCommand(shared *common) *cobra.Command {
	var wait bool
	var timeout time.Duration
	var format string
	var peers peersFlags
	command := &cobra.Command{
		Use:   "status",
		Short: "say what state the node is in, what it waits for, and why",
		Long: `Exits with 0 when the node is ready, 1 when it failed, and 3 when it is not ready yet or degraded.
With --peers it shows the cluster's other nodes instead, and exits with 3 when the agent does not say any more who they are.`,
		Example: `  rekindle status
  rekindle status --wait --timeout 10m && echo ready
  rekindle status --format json | jq .reason
  rekindle status --peers --role master
  rekindle status --peers --format json | jq -r '.peers[] | select(.state == "dead") | .instance'`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := cmp.Or(checkFormat(format), peers.check(c)); err != nil {
				return err
			}
			if peers.on {
				return peers.print(c, shared.path(peersPath), format)
			}
			now, err := readStatus(c.Context(), shared.path(statusPath), wait, timeout)
			if err != nil {
				return err
			}
			if format == "json" {
				err = printJSON(c.OutOrStdout(), now)
			} else {
				color, _ := terminal(c.OutOrStdout())
				err = now.Text(c.OutOrStdout(), color)
			}
			if err != nil || now.ExitCode() == 0 {
				return err
			}
			return exit{code: now.ExitCode()}
		},
	}
	flags := command.Flags()
	flags.BoolVar(&wait, "wait", false, "wait until the node is ready or failed")
	flags.DurationVar(&timeout, "timeout", 15*time.Minute, "how long to wait")
	flags.StringVar(&format, "format", "text", "text or json")
	peers.add(command)
	return command
}

func readStatus(ctx context.Context, path string, wait bool, timeout time.Duration) (*status.Status, error) {
	if wait {
		ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not ready after %s", timeout))
		defer cancel()
		now, err := status.Wait(ctx, path)
		if now != nil && ctx.Err() != nil {
			return now, nil // what it is waiting for says more than "deadline exceeded"
		}
		if err != nil {
			return nil, exit{exitNotYet, err}
		}
		return now, nil
	}
	now, err := status.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exit{exitNotYet, fmt.Errorf("%s: the agent has not run since this node booted; start it: systemctl start rekindle", path)}
	}
	return now, err
}
