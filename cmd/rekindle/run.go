package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/coreos/go-systemd/v22/util"
	"github.com/spf13/cobra"

	"rekindle/agent"
	"rekindle/agent/apply"
	"rekindle/agent/host"
	"rekindle/agent/status"
)

func runCommand(shared *common) *cobra.Command {
	var units string
	var once bool
	command := &cobra.Command{
		Use:   "run",
		Short: "boot this node, then stay and keep it so",
		Long: `Reads user-data and tags, pulls the role's assets, writes the configuration, starts the units, and says on the
console what came of it. Then it stays and repairs what drifts. Safe to restart at any moment; SIGHUP resyncs now.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return run(c.Context(), shared, units, once, c.ErrOrStderr())
		},
	}
	command.Flags().StringVar(&units, "units", "", "systemd or process; without it systemd where it is PID 1")
	command.Flags().BoolVar(&once, "once", false, "end after the first attempt to boot")
	return command
}

func run(ctx context.Context, shared *common, kind string, once bool, stderr io.Writer) error {
	logger := shared.logger(stderr)
	units, closeUnits, err := openUnits(shared.root, kind, logger)
	if err != nil {
		return err
	}
	defer closeUnits()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	if err := agent.Run(ctx, agent.Options{Root: shared.root, Version: version, Units: units, Logger: logger,
		Console: console(shared.root, stderr), Again: requests(ctx, again), Once: once}); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return err // nothing ran yet that could have said it
		}
		return exit{code: exitFailed} // the console and the log have said it
	}
	return nil
}

// requests turns signals into requests to resync; those that come while one is waiting are one.
func requests(ctx context.Context, signals <-chan os.Signal) <-chan struct{} {
	again := make(chan struct{}, 1)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				select {
				case again <- struct{}{}:
				default:
				}
			}
		}
	}()
	return again
}

// console is the machine's, or for a node in a directory a file there.
func console(root string, stderr io.Writer) io.Writer {
	if isJournal, err := journal.StderrIsJournalStream(); err == nil && isJournal {
		stderr = nil // the journal has the line already
	}
	if filepath.Clean(root) == "/" {
		return status.Console{Also: stderr}
	}
	return status.Console{Path: filepath.Join(root, "dev/console"), Also: stderr}
}

// openUnits opens who runs the units.
func openUnits(root, kind string, logger *slog.Logger) (apply.Units, func(), error) {
	if kind == "" {
		kind = "process"
		if filepath.Clean(root) == "/" && util.IsRunningSystemd() {
			kind = "systemd"
		}
	}
	switch kind {
	case "systemd":
		units := host.NewSystemd(logger)
		return units, units.Close, nil
	case "process":
		units, err := host.NewProcesses(host.New(root), logger, nil)
		if err != nil {
			return nil, nil, err
		}
		return units, units.Close, nil
	}
	return nil, nil, exit{exitUsage, fmt.Errorf("--units %q: use systemd or process", kind)}
}
