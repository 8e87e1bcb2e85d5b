package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"rekindle/agent/pki"
)

func pkiSealCommand(shared *common, flags *pkiFlags) *cobra.Command {
	var again bool
	command := &cobra.Command{
		Use:   "seal STORE",
		Short: "encrypt the private keys in a store under a key of KMS",
		Long: `Encrypts the keys that lie there unsealed. A versioned bucket keeps the older objects: delete those versions, or rotate
the authorities, if they may have been read.`,
		Example: "  rekindle pki seal s3://my-bucket/prod --kms-key alias/pki",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			flags.seal = true
			vault, _, err := flags.vault(c.Context(), shared, args[0], c.ErrOrStderr())
			if err != nil {
				return err
			}
			vault.Logger = nil // it would say what this is about to change
			return pkiSeal(c.Context(), vault, again, c.OutOrStdout())
		},
	}
	command.Flags().BoolVar(&again, "force", false, "seal again what is sealed: after a change of the KMS key")
	return command
}

func pkiSeal(ctx context.Context, vault *pki.Vault, again bool, w io.Writer) error {
	for _, name := range pki.Names {
		changed, err := vault.Reseal(ctx, name, again)
		did := "sealed already"
		switch {
		case errors.Is(err, pki.ErrAbsent):
			did = "not there"
		case err != nil:
			return err
		case changed:
			did = "sealed"
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", name, did); err != nil {
			return err
		}
	}
	return nil
}
