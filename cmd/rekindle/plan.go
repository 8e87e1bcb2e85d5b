package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"rekindle/agent"
	"rekindle/agent/assets"
	"rekindle/agent/config"
	"rekindle/agent/plan"
)

type planFlags struct {
	configs                              []string
	node, role, roles, manifest, factsTo string
	diff                                 string
	units                                string
}

// onNode is the value of a --diff without a file.
const onNode = "this node"

func planCommand(shared *common) *cobra.Command {
	var flags planFlags
	command := &cobra.Command{
		Use:   "plan",
		Short: "print what the node must look like, or what would change",
		Example: `  rekindle plan                                                    # on a node: its plan
  rekindle plan --diff                                             # on a node: what an apply would change
  rekindle plan --config cluster.yaml --facts facts.json           # on a laptop
  rekindle plan --config new.yaml --facts facts.json --diff=old-plan.yaml`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return flags.run(c.Context(), shared, c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	set := command.Flags()
	set.StringArrayVar(&flags.configs, "config", nil, "user-data or cluster.yaml; repeated, each lies over the one before")
	set.StringVar(&flags.node, "facts", "", "what `rekindle facts` printed; without it the node itself is asked")
	set.StringVar(&flags.role, "role", "", "instead of the role that tags name")
	set.StringVar(&flags.roles, "roles", "", "an overlay: a directory laid out as roles/ in the store")
	set.StringVar(&flags.manifest, "manifest", "", "the store's manifest.json, for digests")
	set.StringVar(&flags.factsTo, "facts-out", "", "keep the facts that the plan was made from")
	set.StringVar(&flags.units, "units", "", "systemd or process; without it systemd where it is PID 1")
	set.StringVar(&flags.diff, "diff", "", "a printed plan to compare with; without a value, this node")
	set.Lookup("diff").NoOptDefVal = onNode
	return command
}

func (f *planFlags) run(ctx context.Context, shared *common, stdin io.Reader, stdout, stderr io.Writer) error {
	if f.node == "" {
		return f.onThisNode(ctx, shared, stdout, stderr)
	}
	if f.diff == onNode {
		return exit{exitUsage, fmt.Errorf("--diff without a file compares with this node, so --facts has no place: give --diff=PLAN")}
	}
	want, err := f.offline(stdin)
	if err != nil {
		return err
	}
	return f.show(stdout, want)
}

// offline makes a plan from files alone.
func (f *planFlags) offline(stdin io.Reader) (*plan.Plan, error) {
	var in agent.Offline
	if err := readJSON(f.node, &in.Facts); err != nil {
		return nil, exit{exitUsage, err}
	}
	for _, name := range f.configs {
		data, err := readInput(stdin, name)
		if err != nil {
			return nil, exit{exitUsage, err}
		}
		layers, _, problems := config.Read(name, data)
		in.Layers = append(in.Layers, layers...)
		in.Problems = append(in.Problems, problems...)
	}
	if f.manifest != "" {
		data, err := os.ReadFile(f.manifest)
		if err != nil {
			return nil, exit{exitUsage, err}
		}
		if in.Manifest, err = assets.ParseManifest(data); err != nil {
			return nil, exit{exitUsage, fmt.Errorf("%s: %w", f.manifest, err)}
		}
	}
	in.Role, in.Overlay = f.role, directory(f.roles)
	want, err := in.Plan()
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	return want, nil
}

// onThisNode asks IMDS and the store as a boot does, and changes nothing.
func (f *planFlags) onThisNode(ctx context.Context, shared *common, stdout, stderr io.Writer) error {
	logger := shared.logger(stderr)
	units, closeUnits, err := openUnits(shared.root, f.units, logger)
	if err != nil {
		return err
	}
	defer closeUnits()
	looked, err := agent.Look(ctx, agent.Options{Root: shared.root, Version: version, Units: units, Logger: logger})
	if err != nil {
		return err
	}
	if f.factsTo != "" {
		if err := writeJSON(f.factsTo, looked.Facts); err != nil {
			return err
		}
	}
	if f.diff != onNode {
		return f.show(stdout, looked.Plan)
	}
	report, err := looked.Preview(ctx)
	if err != nil {
		return err
	}
	for _, change := range report.Changes {
		if _, err := fmt.Fprintln(stdout, change); err != nil {
			return err
		}
	}
	if !report.Empty() {
		return exit{code: exitNotYet}
	}
	_, err = fmt.Fprintln(stdout, "nothing would change")
	return err
}

// show prints a plan, or how it differs from an older one.
func (f *planFlags) show(stdout io.Writer, want *plan.Plan) error {
	if f.diff == "" {
		return plan.Print(stdout, want)
	}
	file, err := os.Open(f.diff)
	if err != nil {
		return exit{exitUsage, err}
	}
	defer file.Close()
	old, err := plan.Read(file)
	if err != nil {
		return exit{exitUsage, fmt.Errorf("%s: %w", f.diff, err)}
	}
	color, _ := terminal(stdout)
	differs, err := plan.Diff(stdout, old, want, color)
	if err == nil && differs {
		return exit{code: exitNotYet}
	}
	return err
}

func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
