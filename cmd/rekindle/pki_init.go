package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func pkiInitCommand(shared *common, flags *pkiFlags) *cobra.Command {
	var only []string
	var force bool
	command := &cobra.Command{
		Use:   "init STORE",
		Short: "create the authorities that the store does not have",
		Long: `Creates what the first master would create otherwise: useful to encrypt or seal the keys with rights that no node has,
and to have the CA before the first boot. What is there stays.`,
		Example: "  rekindle pki init s3://my-bucket/prod --cluster prod --kms-key alias/pki --seal",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			names, err := chosen(only)
			if err != nil {
				return err
			}
			return pkiInit(c.Context(), shared, flags, args[0], names, force, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	command.Flags().StringSliceVar(&only, "only", nil, "these authorities alone")
	command.Flags().BoolVar(&force, "force", false, "create them although the cluster has, or had, others: every node must then be replaced")
	return command
}

func pkiInit(ctx context.Context, shared *common, flags *pkiFlags, place string, names []string, force bool, stdout, stderr io.Writer) error {
	vault, asked, err := flags.vault(ctx, shared, place, stderr)
	if err == nil {
		err = named(asked)
	}
	if err != nil {
		return err
	}
	vault.Anyway = force
	for _, name := range names {
		a, created, err := ensure(ctx, vault, name)
		if err != nil {
			return err
		}
		did := "there already"
		if created {
			did = "created"
		}
		if _, err := fmt.Fprintf(stdout, "%s: %s: %s\n", name, did, line(a)); err != nil {
			return err
		}
	}
	return nil
}
