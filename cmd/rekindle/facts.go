package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"rekindle/agent"
)

func factsCommand(shared *common) *cobra.Command {
	return &cobra.Command{
		Use:   "facts",
		Short: "print what is observed of this node, as JSON",
		Example: `  rekindle facts > facts.json
  rekindle plan --config cluster.yaml --facts facts.json # the same plan, on a laptop`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			logger := shared.logger(c.ErrOrStderr())
			seen, err := agent.Observe(c.Context(), agent.Options{Root: shared.root, Version: version, Logger: logger})
			if err != nil {
				return err
			}
			encoder := json.NewEncoder(c.OutOrStdout())
			encoder.SetIndent("", "  ")
			return encoder.Encode(seen)
		},
	}
}
