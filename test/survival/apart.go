package survival

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/lab/region"
)

// Every test runs in a process of its own, for there can be only one S3 server in each, and several of them at once, for they
// wait more than they compute. The process of `go test` builds the programs and publishes them once; the others find them by
// this variable.
const preparedVariable = "REKINDLE_SURVIVAL"

// limit is how long one test may take on a machine that is busy with others.
const limit = 8 * time.Minute

// prepared is what all tests share.
type prepared struct {
	Programs binaries.Set
	Mirror   string // the published objects: a directory
}

// scratch is where the first process keeps it.
var scratch string

var prepare = sync.OnceValues(func() (prepared, error) {
	ctx := context.Background()
	programs, err := binaries.Build(ctx, filepath.Join(scratch, "bin"), os.Getenv("REKINDLE_BINARY"), binaries.Default)
	if err != nil {
		return prepared{}, err
	}
	return publish(ctx, scratch, programs)
})

// publish makes the objects that nodes with some programs need, in a directory.
func publish(ctx context.Context, dir string, programs binaries.Set) (prepared, error) {
	p := prepared{Programs: programs, Mirror: filepath.Join(dir, "mirror")}
	assets := filepath.Join(dir, "assets")
	if err := demo.Assets(ctx, assets, dir, programs, []string{"master", "etcd"}, ""); err != nil {
		return p, err
	}
	out, err := exec.CommandContext(ctx, programs.Rekindle, "publish", assets, "dir://"+p.Mirror).CombinedOutput()
	if err != nil {
		return p, fmt.Errorf("publish: %w\n%s", err, out)
	}
	return p, nil
}

// places are for the tests that are not long: so many of them run at once. The long ones begin at once, as the package takes as long
// as they do, and wait most of that time.
var places = make(chan struct{}, 2)

// survive runs a test against masters of a cluster of its own, and other tests beside it. ctx ends with the test's limit.
func survive(t *testing.T, shape Shape, test func(ctx context.Context, c *Cluster)) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and boots nodes")
	}
	if given := os.Getenv(preparedVariable); given != "" {
		var p prepared
		if err := json.Unmarshal([]byte(given), &p); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		test(ctx, start(ctx, t, p, shape))
		return
	}
	t.Parallel()
	ready := prepare
	if shape.Clock {
		ready = movable
	}
	p, err := ready()
	if err != nil {
		t.Fatal(err)
	}
	if !shape.Long {
		places <- struct{}{}
		defer func() { <-places }()
	}
	apart(t, p)
}

// shown are the lines that are shown of a test that passed: its steps, and what it measured.
var shown = regexp.MustCompile(`(?m)^ +(?:\w+\.go:\d+: (measured: .*|skipped: .*)|(--- (?:PASS|SKIP): .*))$`)

// apart runs the test that calls it in another process.
func apart(t *testing.T, p prepared) {
	t.Helper()
	given, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), limit+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", exactly(t.Name()), "-test.v", "-test.timeout", (limit + 30*time.Second).String())
	cmd.Env = append(os.Environ(), preparedVariable+"="+string(given))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !strings.Contains(out.String(), "--- PASS: "+t.Name()) && !strings.Contains(out.String(), "--- SKIP: "+t.Name()) {
		t.Fatalf("the other process did not run this test:\n%s", &out)
	}
	for _, line := range shown.FindAllStringSubmatch(out.String(), -1) {
		t.Log(line[1] + line[2])
	}
}

// exactly is the pattern that fits one test, or subtest, and no other.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// start makes a region, a store in it, and launches the nodes of a shape.
func start(ctx context.Context, t *testing.T, p prepared, shape Shape) *Cluster {
	t.Helper()
	dir := t.TempDir()
	c := &Cluster{t: t, whole: t, dir: dir, mirror: "dir://" + p.Mirror, shape: shape}
	t.Cleanup(c.unmount) // after the region is closed
	r, err := region.Start(ctx, region.Options{
		Dir: filepath.Join(dir, "lab"), Name: "cn-northwest-1", Binary: p.Programs.Rekindle, Standin: p.Programs.Standin, Bake: c.bake,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Region = r
	t.Cleanup(func() {
		if t.Failed() {
			c.tellLogs()
		}
		if err := errors.Join(r.Close(), r.Err()); err != nil {
			t.Error(err)
		}
	})
	if err := r.CreateStore(ctx, store); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"manifest.json", "cluster.yaml"} {
		data, err := os.ReadFile(filepath.Join(p.Mirror, name))
		if err != nil {
			t.Fatal(err)
		}
		c.PutObject(ctx, name, data)
	}
	if shape.Before != nil {
		shape.Before(c)
	}
	c.launch()
	return c
}
