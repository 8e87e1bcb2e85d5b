package survival

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"rekindle/test/apart"
	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/lab/region"
)

// limit is how long one test may take on a machine that is busy with others.
const limit = 8 * time.Minute

// prepared is what all tests share. Each runs in a process of its own, and several at once, for they wait more than they compute. The
// process of `go test` builds the programs and publishes them once.
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
	mirror, err := demo.Mirror(ctx, dir, programs, "master", "etcd")
	return prepared{programs, mirror}, err
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
	if p, ok := apart.Given[prepared](t); ok {
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
	apart.Run(t, p, limit, nil)
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
