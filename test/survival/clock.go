package survival

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// movable are programs with a clock that a node can have off, and their objects. What is linked statically cannot be given another
// clock from outside, and all nodes of a laboratory have the machine's: testdata/clock is built into the agent and etcd.
var movable = sync.OnceValues(func() (prepared, error) {
	ordinary, err := prepare()
	if err != nil {
		return ordinary, err
	}
	ctx, dir := context.Background(), filepath.Join(scratch, "clock")
	programs := ordinary.Programs
	programs.Rekindle, programs.Etcd = filepath.Join(dir, "rekindle"), filepath.Join(dir, "etcd")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return prepared{}, err
	}
	for out, pkg := range map[string]string{programs.Rekindle: "../../cmd/rekindle", programs.Etcd: "../lab/etcd"} {
		if err := buildMovable(ctx, pkg, out); err != nil {
			return prepared{}, err
		}
	}
	return publish(ctx, dir, programs)
})

func buildMovable(ctx context.Context, pkg, out string) error {
	added := map[string]string{}
	for _, file := range []string{"clock.go", "clock_amd64.s"} {
		in, err := filepath.Abs(filepath.Join(pkg, file))
		if err != nil {
			return err
		}
		if added[in], err = filepath.Abs(filepath.Join("testdata/clock", file)); err != nil {
			return err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": added})
	if err != nil {
		return err
	}
	path := out + ".overlay.json"
	if err := os.WriteFile(path, overlay, 0o644); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-overlay", path, "-ldflags", "-s -w", "-o", out, ".")
	build.Dir, build.Env = pkg, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, said)
	}
	return nil
}
