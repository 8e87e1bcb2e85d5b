//go:build network

package network

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"rekindle/test/apart"
	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/vpc"
)

// limit is how long one test may take on a machine that is busy with others.
const limit = 6 * time.Minute

// prepared is what all tests share. Each runs in a process and a network namespace of its own, and all at once, as they mostly wait.
// The process of `go test` builds the programs and publishes them.
type prepared struct {
	Programs binaries.Set
	Mirror   string // the published objects: a directory, so that they do not travel through the switch
}

// scratch is where the first process keeps it.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Println("skipped: network namespaces take root")
		return
	}
	if apart.Here() {
		vpc.Isolate()
		os.Exit(m.Run())
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if err := flag.Set("test.parallel", "100"); err != nil {
		return 0, err
	}
	if scratch, err = os.MkdirTemp("", "network"); err != nil {
		return 0, err
	}
	code = m.Run()
	return code, os.RemoveAll(scratch)
}

var prepare = sync.OnceValues(func() (prepared, error) {
	ctx := context.Background()
	agent := os.Getenv("REKINDLE_BINARY")
	if agent == "" {
		agent = "../../bin/rekindle"
	}
	programs, err := binaries.Build(ctx, filepath.Join(scratch, "bin"), agent, binaries.Default)
	if err != nil {
		return prepared{}, err
	}
	mirror, err := demo.Mirror(ctx, scratch, programs, "master", "minion")
	return prepared{programs, mirror}, err
})

// on runs a test with a cluster of its own, in another process. ctx ends with the test's limit.
func on(t *testing.T, shape Shape, test func(ctx context.Context, c *Cluster)) {
	t.Helper()
	if p, ok := apart.Given[prepared](t); ok {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		test(ctx, start(ctx, t, p, shape))
		return
	}
	t.Parallel()
	p, err := prepare()
	if err != nil {
		t.Fatal(err)
	}
	apart.Run(t, p, limit, vpc.Apart)
}
