package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent/pki"
)

func pkiShowCommand(shared *common, flags *pkiFlags) *cobra.Command {
	var format string
	command := &cobra.Command{
		Use:   "show STORE",
		Short: "print the authorities of a store, without their keys",
		Long:  "Exits with 3 when an authority is not there, or cannot be used any more.",
		Example: `  rekindle pki show s3://my-bucket/prod
  rekindle pki show s3://my-bucket/prod --format json | jq '.[].fingerprint'`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if format != "text" && format != "json" {
				return exit{exitUsage, fmt.Errorf("--format %q: use text or json", format)}
			}
			vault, _, err := flags.vault(c.Context(), shared, args[0], c.ErrOrStderr())
			if err != nil {
				return err
			}
			return pkiShow(c.Context(), vault, format, c.OutOrStdout())
		},
	}
	command.Flags().StringVar(&format, "format", "text", "text or json")
	return command
}

// shown is what is public of an authority.
type shown struct {
	Name        string        `json:"name"`
	State       string        `json:"state"` // absent, usable, unusable
	Why         string        `json:"why,omitempty"`
	Cluster     string        `json:"cluster,omitempty"`
	Subject     string        `json:"subject,omitempty"`
	Expires     *time.Time    `json:"expires,omitempty"`
	Fingerprint string        `json:"fingerprint,omitempty"`
	Trusted     int           `json:"trusted,omitempty"` // generations
	Rotation    *pki.Rotation `json:"rotation,omitempty"`
	Sealed      string        `json:"sealed,omitempty"` // the KMS key
}

func pkiShow(ctx context.Context, vault *pki.Vault, format string, w io.Writer) error {
	var all []shown
	sound := true
	for _, name := range pki.Names {
		one, err := look(ctx, vault, name)
		if err != nil {
			return err
		}
		all = append(all, one)
		sound = sound && one.State == "usable"
	}
	var err error
	if format == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(all)
	} else {
		err = table(w, all)
	}
	if err == nil && !sound {
		return exit{code: exitNotYet}
	}
	return err
}

func look(ctx context.Context, vault *pki.Vault, name string) (shown, error) {
	record, err := vault.Record(ctx, name)
	if errors.Is(err, pki.ErrAbsent) {
		return shown{Name: name, State: "absent"}, nil
	}
	if err != nil {
		return shown{}, err
	}
	a, err := record.Authority()
	if err != nil {
		return shown{}, err
	}
	out := shown{Name: name, State: "usable", Cluster: record.Cluster, Fingerprint: a.Fingerprint(),
		Trusted: len(record.Generations), Rotation: record.Rotation}
	if len(a.Certificates) > 0 {
		expires := a.Certificates[0].NotAfter.UTC()
		out.Subject, out.Expires = a.Certificates[0].Subject.String(), &expires
	}
	if record.Sealed != nil {
		out.Sealed = record.Sealed.KMSKey
	}
	if err := a.Check(time.Now()); err != nil {
		out.State, out.Why = "unusable", err.Error()
	}
	return out, nil
}

func table(w io.Writer, all []shown) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "AUTHORITY\tSTATE\tSUBJECT\tUNTIL\tROTATION\tSEALED\tSHA256")
	for _, one := range all {
		until, rotation, sealed := "-", "none", "no"
		if one.Expires != nil {
			until = one.Expires.Format(time.DateOnly)
		}
		if one.Rotation != nil {
			rotation = one.Rotation.Step + " " + one.Rotation.Since.UTC().Format(time.RFC3339)
		}
		if one.Sealed != "" {
			sealed = one.Sealed
		}
		if one.State == "absent" {
			rotation, sealed = "-", "-"
		}
		_, _ = fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", one.Name, one.State, dash(one.Subject), until, rotation, sealed,
			dash(one.Fingerprint))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, one := range all {
		if one.Why != "" {
			if _, err := fmt.Fprintln(w, one.Why); err != nil {
				return err
			}
		}
	}
	return nil
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
