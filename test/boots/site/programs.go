package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"rekindle/test/lab/binaries"
	"rekindle/test/lab/node"
)

// Programs are the paths of what runs on machines.
type Programs = binaries.Set

// Build builds the stand-ins, and the agent with the race detector, into dir; REKINDLE_BIN names an agent that is built
// already. It is called before OpenStores, which moves the working directory. What machines leave behind becomes this
// process's to reap.
func Build(ctx context.Context, dir string) (Programs, error) {
	if err := node.Adopt(); err != nil {
		return Programs{}, err
	}
	agent := os.Getenv("REKINDLE_BIN")
	if agent == "" {
		agent = filepath.Join(dir, "rekindle")
		cmd := exec.CommandContext(ctx, "go", "build", "-race", "-ldflags", "-X main.version=v0.0.0-test", "-o", agent, "./cmd/rekindle")
		cmd.Dir = filepath.Join("..", "..") // the root of the agent's module, seen from test/PACKAGE
		if out, err := cmd.CombinedOutput(); err != nil {
			return Programs{}, errors.Join(fmt.Errorf("go build ./cmd/rekindle: %w", err), errors.New(string(out)))
		}
	}
	return binaries.Build(ctx, dir, agent, binaries.Default)
}
