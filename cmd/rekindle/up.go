package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/util"
	"github.com/spf13/cobra"

	"rekindle/agent"
	"rekindle/agent/config"
)

func upCommand(shared *common) *cobra.Command {
	var file string
	var wait bool
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "up [KEY=VALUE...]",
		Short: "hand a configuration over from a user-data script, and start the agent",
		Long: `Checks the configuration, keeps it over reboots, and starts rekindle.service without waiting for it: a
script that cloud-init runs must end before what is ordered after cloud-init can start.`,
		Example: `  rekindle up --config - <<EOF
  store: s3://my-bucket/prod
  EOF
  rekindle up STORE=s3://my-bucket/prod ENVIRONMENT=staging`,
		RunE: func(c *cobra.Command, args []string) error {
			data, name, err := handedOver(c.InOrStdin(), file, args)
			if err != nil {
				return err
			}
			if _, problems := config.Check(name, data); problems.Err() != nil {
				return exit{exitUsage, problems}
			}
			// Kept over reboots: scripts run on the first boot only, and the node must come back without them.
			if err := agent.HandOver(c.Context(), shared.root, data); err != nil {
				return err
			}
			if err := startAgent(c.Context(), shared.root); err != nil {
				return err
			}
			if !wait {
				return nil
			}
			now, err := readStatus(c.Context(), shared.path(statusPath), true, timeout)
			if err != nil {
				return err
			}
			if now.ExitCode() != 0 {
				return exit{now.ExitCode(), fmt.Errorf("%s: %s", now.Reason, now.Message)}
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&file, "config", "", `the configuration, any form that user-data may have; "-" reads standard input`)
	flags.BoolVar(&wait, "wait", false, "wait until the node is ready or failed; never in a user-data script")
	flags.DurationVar(&timeout, "timeout", 15*time.Minute, "how long to wait")
	return command
}

// handedOver is the configuration that the command line gives, in its one form or the other.
func handedOver(stdin io.Reader, file string, args []string) ([]byte, string, error) {
	switch {
	case file != "" && len(args) > 0:
		return nil, "", exit{exitUsage, errors.New("give --config or KEY=VALUE, not both")}
	case file == "-":
		data, err := io.ReadAll(io.LimitReader(stdin, maxInput))
		return data, "standard input", err
	case file != "":
		data, err := os.ReadFile(file)
		if err != nil {
			err = exit{exitUsage, err}
		}
		return data, file, err
	case len(args) == 0:
		return nil, "", exit{exitUsage, errors.New("nothing to hand over: give --config or KEY=VALUE")}
	}
	for _, arg := range args {
		if !strings.Contains(arg, "=") {
			return nil, "", exit{exitUsage, fmt.Errorf("%q: not KEY=VALUE", arg)}
		}
	}
	return []byte(strings.Join(args, "\n") + "\n"), "command line", nil
}

// startAgent restarts the service, so that one which waits for this configuration reads it. Without systemd, as in the
// lab, whoever started the agent has to.
func startAgent(ctx context.Context, root string) error {
	if filepath.Clean(root) != "/" || !util.IsRunningSystemd() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	bus, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("systemd: %w", err)
	}
	defer bus.Close()
	if _, err := bus.RestartUnitContext(ctx, "rekindle.service", "replace", nil); err != nil {
		return fmt.Errorf("rekindle.service: %w (install the unit from the systemd folder into the image)", err)
	}
	return nil
}
