package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"rekindle/agent/host"
	"rekindle/agent/pki"
)

func pkiCheckCommand(shared *common) *cobra.Command {
	var format string
	command := &cobra.Command{
		Use:   "check",
		Short: "say until when this node's certificates count",
		Long: `Looks at the certificates below /etc/kubernetes and /var/lib/kubelet/pki, whoever wrote them, and prints what
kubeadm certs check-expiration does. It asks nobody, and never prints a key. Exits with 1 when a certificate has expired or
does not count, and with 3 when one should have been renewed by now.`,
		Example: `  rekindle pki check
  rekindle pki check --format json | jq '.certificates[] | select(.state != "good")'`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return exit{exitUsage, fmt.Errorf("--format %q: use text or json", format)}
			}
			now := time.Now()
			found, err := pki.Survey(host.New(shared.root), now)
			if err != nil {
				return err
			}
			if len(found.Certificates)+len(found.Authorities) == 0 {
				return exit{exitNotYet, fmt.Errorf("%s: no certificates yet; see what the node waits for: rekindle status", shared.path("/etc/kubernetes"))}
			}
			if format == "json" {
				encoder := json.NewEncoder(c.OutOrStdout())
				encoder.SetIndent("", "  ")
				err = encoder.Encode(found)
			} else {
				err = found.Text(c.OutOrStdout(), now)
			}
			if err != nil {
				return err
			}
			switch found.State() {
			case pki.Bad:
				return exit{code: exitFailed}
			case pki.Due:
				return exit{code: exitNotYet}
			}
			return nil
		},
	}
	command.Flags().StringVar(&format, "format", "text", "text or json")
	return command
}
