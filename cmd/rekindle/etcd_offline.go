package main

import (
	"github.com/spf13/cobra"

	"rekindle/agent/etcd/datadir"
)

// etcdOfflineCommand is what the agent runs as a process of its own, so that damaged data can crash or hang that alone.
func etcdOfflineCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "etcd-offline check|rescue DIR",
		Short:     "examine a member's data directory, for the agent",
		Hidden:    true,
		Args:      arguments(cobra.ExactArgs(2)),
		ValidArgs: []string{datadir.JobCheck, datadir.JobRescue},
		RunE: func(c *cobra.Command, args []string) error {
			return datadir.Offline(c.Context(), args[0], args[1], c.OutOrStdout())
		},
	}
}

// withHidden adds what is no verb for people, and so is not in root's list, which docs/verbs.md explains.
func withHidden(root *cobra.Command) *cobra.Command {
	root.AddCommand(etcdOfflineCommand())
	return root
}
