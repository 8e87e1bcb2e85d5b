//go:build network

package network

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
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
	"rekindle/test/vpc"
)

// Every test runs in a process and a network namespace of its own, as a process has one S3 server and one switch, and all at
// once, as they mostly wait. The process of `go test` builds the programs and publishes them; the others find them by this
// variable.
const preparedVariable = "REKINDLE_NETWORK"

// limit is how long one test may take on a machine that is busy with others.
const limit = 6 * time.Minute

// prepared is what all tests share.
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
	if os.Getenv(preparedVariable) != "" {
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
	p := prepared{Programs: programs, Mirror: filepath.Join(scratch, "mirror")}
	assets := filepath.Join(scratch, "assets")
	if err := demo.Assets(ctx, assets, scratch, programs, []string{"master", "minion"}, ""); err != nil {
		return p, err
	}
	out, err := exec.CommandContext(ctx, programs.Rekindle, "publish", assets, "dir://"+p.Mirror).CombinedOutput()
	if err != nil {
		return p, fmt.Errorf("publish: %w\n%s", err, out)
	}
	return p, nil
})

// on runs a test with a cluster of its own, in another process. ctx ends with the test's limit.
func on(t *testing.T, shape Shape, test func(ctx context.Context, c *Cluster)) {
	t.Helper()
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
	p, err := prepare()
	if err != nil {
		t.Fatal(err)
	}
	apart(t, p)
}

// shown are the lines that are shown of a test that passed: its steps, and what it measured.
var shown = regexp.MustCompile(`(?m)^ +(?:\w+\.go:\d+: (measured: .*)|(--- PASS: .*))$`)

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
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.timeout", (limit + 30*time.Second).String())
	cmd.Env = append(os.Environ(), preparedVariable+"="+string(given))
	cmd.Stdout, cmd.Stderr = &out, &out
	vpc.Apart(cmd)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		t.Fatalf("the other process did not run this test:\n%s", &out)
	}
	for _, line := range shown.FindAllStringSubmatch(out.String(), -1) {
		t.Log(line[1] + line[2])
	}
}
