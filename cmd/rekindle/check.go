package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"rekindle/agent"
	"rekindle/agent/facts"
)

func checkCommand() *cobra.Command {
	var role, overlay, node string
	command := &cobra.Command{
		Use:   "check FILE...",
		Short: "validate user-data and roles offline, with line numbers",
		Long: `Reports all mistakes at once, each with file, line, column and remedy; then renders the roles and decodes
every Kubernetes object and unit file strictly. Exits with 2 when a file is bad. "-" reads standard input.`,
		Example: `  rekindle check user-data.yaml
  rekindle check cluster.yaml --roles ./assets/roles --role minion`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			seen := agent.Example()
			if node != "" {
				if err := readJSON(node, &seen); err != nil {
					return exit{exitUsage, err}
				}
			}
			bad := 0
			for _, name := range args {
				fine, err := checkFile(c.InOrStdin(), c.OutOrStdout(), name, role, directory(overlay), seen)
				if err != nil {
					return exit{exitUsage, err}
				}
				if !fine {
					bad++
				}
			}
			if bad > 0 {
				return exit{exitUsage, fmt.Errorf("%d of %d files are bad", bad, len(args))}
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&role, "role", "", "the role to render; without it the file's own, else all")
	flags.StringVar(&overlay, "roles", "", "an overlay: a directory laid out as roles/ in the store")
	flags.StringVar(&node, "facts", "", "the node to render for, as `rekindle facts` prints it; without it an example")
	return command
}

func checkFile(stdin io.Reader, stdout io.Writer, name, role string, overlay fs.FS, seen facts.Facts) (fine bool, err error) {
	data, err := readInput(stdin, name)
	if err != nil {
		return false, err
	}
	problems, findings := agent.Check(name, data, role, overlay, seen)
	if err := problems.Print(stdout, true); err != nil {
		return false, err
	}
	for _, finding := range findings {
		for _, err := range finding.Errs {
			if _, err := fmt.Fprintf(stdout, "%s: role %s: %v\n", name, finding.Role, err); err != nil {
				return false, err
			}
		}
	}
	if problems.Err() != nil || len(findings) > 0 {
		return false, nil
	}
	_, err = fmt.Fprintf(stdout, "%s: ok\n", name)
	return true, err
}

// maxInput bounds what is read from standard input, in bytes.
const maxInput = 1 << 20

// readInput reads a file, or standard input for "-".
func readInput(stdin io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(stdin, maxInput))
	}
	return os.ReadFile(name)
}

// readJSON reads a file strictly.
func readJSON(path string, into any) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// directory is an overlay, or none.
func directory(path string) fs.FS {
	if path == "" {
		return nil
	}
	return os.DirFS(path)
}
