package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent/pki"
)

func pkiImportCommand(shared *common, flags *pkiFlags) *cobra.Command {
	var only []string
	command := &cobra.Command{
		Use:   "import DIR STORE",
		Short: "bring authorities that exist, from kubeadm's or kube-aws's files",
		Long: `Takes /etc/kubernetes/pki of a kubeadm master (ca.crt, ca.key, etcd/ca.crt, ...) or kube-aws's credentials/ (ca.pem,
ca-key.pem, ...), and creates what is not there. Everything is checked before anything is written, and nothing in the
store is replaced.`,
		Example: "  rekindle pki import ./pki s3://my-bucket/prod --cluster prod\n" +
			"  rekindle pki import ./credentials dir:///srv/store --cluster prod --only kubernetes,service-account",
		Args: arguments(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := chosen(only); err != nil {
				return err
			}
			return pkiImport(c.Context(), shared, flags, args[0], args[1], only, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	command.Flags().StringSliceVar(&only, "only", nil, "these authorities alone; others are neither imported nor created")
	return command
}

func pkiImport(ctx context.Context, shared *common, flags *pkiFlags, dir, place string, only []string, stdout, stderr io.Writer) error {
	vault, asked, err := flags.vault(ctx, shared, place, stderr)
	if err == nil {
		err = named(asked)
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return exit{exitUsage, err}
	}
	found, notes, err := pki.FindImports(os.DirFS(dir), only, time.Now())
	if err != nil {
		return exit{exitUsage, fmt.Errorf("%s: %w", dir, err)}
	}
	var foreign []error
	for _, one := range found {
		_, err := vault.Foreign(ctx, one.Authority)
		foreign = append(foreign, err)
	}
	if err := errors.Join(foreign...); err != nil {
		return err
	}
	for _, note := range notes {
		if _, err := fmt.Fprintln(stdout, note); err != nil {
			return err
		}
	}
	names, err := chosen(only)
	if err != nil {
		return err
	}
	vault.Anyway = true // whoever imports knows that the cluster lived
	for _, name := range names {
		said, err := bring(ctx, vault, found, name)
		if err == nil {
			_, err = fmt.Fprintf(stdout, "%s: %s\n", name, said)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bring imports an authority, or creates what the directory does not have, and says which.
func bring(ctx context.Context, vault *pki.Vault, found []pki.Import, name string) (string, error) {
	at := slices.IndexFunc(found, func(i pki.Import) bool { return i.Name == name })
	if at < 0 {
		a, created, err := ensure(ctx, vault, name)
		if err != nil {
			return "", err
		}
		if created {
			return "not in the directory, created: " + line(a), nil
		}
		return "not in the directory, there already: " + line(a), nil
	}
	one := found[at]
	imported, err := vault.Import(ctx, one.Authority)
	if err != nil {
		return "", err
	}
	if !imported {
		return "unchanged: " + line(one.Authority), nil
	}
	return fmt.Sprintf("imported from %s: %s", strings.Join(one.Files, ", "), line(one.Authority)), nil
}
