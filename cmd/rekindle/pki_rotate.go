package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent/pki"
)

func pkiRotateCommand(shared *common, flags *pkiFlags) *cobra.Command {
	var guard pki.Guard
	command := &cobra.Command{
		Use:   "rotate STORE begin|promote|finish|abort AUTHORITY",
		Short: "replace an authority, without a connection refused",
		Long: `begin makes a second generation that everybody trusts, promote lets it sign, finish drops the first. abort takes begin
back. Each step waits for the nodes to have followed the one before, and exits with 3 while it is too early.`,
		Example: `  rekindle pki rotate s3://my-bucket/prod begin kubernetes
  rekindle pki rotate s3://my-bucket/prod promote kubernetes   # an hour later
  rekindle pki rotate s3://my-bucket/prod finish kubernetes    # a month later`,
		Args: arguments(cobra.ExactArgs(3)),
		RunE: func(c *cobra.Command, args []string) error {
			place, step, name := args[0], args[1], args[2]
			if !slices.Contains(pki.Steps, step) {
				return exit{exitUsage, fmt.Errorf("step %q: use %s", step, strings.Join(pki.Steps, ", "))}
			}
			if !slices.Contains(pki.Names, name) {
				return exit{exitUsage, fmt.Errorf("authority %q: they are %s", name, strings.Join(pki.Names, ", "))}
			}
			vault, asked, err := flags.vault(c.Context(), shared, place, c.ErrOrStderr())
			if err != nil {
				return err
			}
			if !c.Flags().Changed("settle") {
				guard.Settle = max(guard.Settle, 3*asked.Timeouts.Resync)
			}
			if !c.Flags().Changed("life") {
				guard.Life = max(guard.Life, asked.PKI.Life)
			}
			if guard.Settle <= 2*asked.Timeouts.Resync && !guard.Force {
				return exit{exitUsage, fmt.Errorf("--settle %s: must be more than two resyncs (timeouts.resync is %s)", guard.Settle,
					asked.Timeouts.Resync)}
			}
			return pkiRotate(c.Context(), vault, step, name, guard, c.OutOrStdout())
		},
	}
	set := command.Flags()
	set.DurationVar(&guard.Settle, "settle", time.Hour, "from begin to promote, at least: more than two resyncs")
	set.DurationVar(&guard.Life, "life", 30*24*time.Hour, "from promote to finish, at least: the life of certificates (pki.life)")
	set.BoolVar(&guard.Force, "force", false, "take the step now, whatever it breaks")
	return command
}

func pkiRotate(ctx context.Context, vault *pki.Vault, step, name string, guard pki.Guard, w io.Writer) error {
	record, err := vault.Rotate(ctx, name, step, guard)
	if err != nil {
		return refused(err)
	}
	a, err := record.Authority()
	if err != nil {
		return err
	}
	signs := "signs: " + line(a)
	var said string
	switch step {
	case pki.StepBegin:
		said = fmt.Sprintf("begun: nodes trust the new one from their next resync; %s; next: promote, from %s", signs,
			at(record.Rotation.Since, guard.Settle))
	case pki.StepPromote:
		said = fmt.Sprintf("promoted: %s; next: finish, from %s", signs, at(record.Rotation.Since, guard.Life))
	case pki.StepFinish:
		said = "finished: nobody trusts the old one from their next resync; " + signs
	case pki.StepAbort:
		said = "aborted: the new one is gone; " + signs
	}
	_, err = fmt.Fprintf(w, "%s: %s\n", name, said)
	return err
}

func at(since time.Time, after time.Duration) string {
	return since.Add(after).UTC().Format(time.RFC3339)
}
