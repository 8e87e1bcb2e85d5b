// Package identity proves what docs/pki.md and docs/join.md promise, with the real agent on nodes of a laboratory: the
// real etcd, a real S3 server, and STS and EC2 as AWS answers.
package identity

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"

	"rekindle/test/identity/clusters"
)

// parallel is how many tests run at once, unless -parallel says otherwise: they wait more than they compute, and the
// longest should not have to begin last.
const parallel = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// shared is the region of all tests, from the first one on that needs it.
var shared struct {
	once   sync.Once
	dir    string
	region *clusters.Region
	err    error
}

func run(m *testing.M) (code int, err error) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", parallel); err != nil {
			return 0, err
		}
	}
	if shared.dir, err = os.MkdirTemp("", "identity"); err != nil {
		return 0, err
	}
	defer func() {
		if shared.region != nil {
			err = errors.Join(err, shared.region.Close(), shared.region.Err())
		}
		err = errors.Join(err, os.RemoveAll(shared.dir))
	}()
	return m.Run(), nil
}

// cluster returns a cluster of its own, without nodes.
func cluster(t *testing.T, name string) *clusters.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and boots nodes")
	}
	shared.once.Do(func() {
		shared.region, shared.err = clusters.Start(context.Background(), shared.dir, os.Getenv("REKINDLE_BINARY"), os.Stderr)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.region.Cluster(t.Context(), t, name)
}
