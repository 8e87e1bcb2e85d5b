// Package apart runs tests in processes of their own: there can be only one S3 server in each, and only a process as a whole can be
// in another network namespace.
package apart

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// variable is what a process finds what it is given by.
const variable = "REKINDLE_TEST_APART"

// Here tells whether this process is one that Run started.
func Here() bool { return os.Getenv(variable) != "" }

// Given is what Run gave to this process; false: Run did not start it.
func Given[T any](t *testing.T) (given T, ok bool) {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return given, false
	}
	if err := json.Unmarshal([]byte(text), &given); err != nil {
		t.Fatal(err)
	}
	return given, true
}

// shown are the lines that are shown of a test that passed: its steps, what it measured, and what it skipped.
var shown = regexp.MustCompile(`(?m)^ +(?:\w+\.go:\d+: (measured: .*|skipped: .*)|(--- (?:PASS|SKIP): .*))$`)

// Run runs the test that calls it in another process, and fails if that does, or takes longer than limit and a minute. change may
// change how the process is started.
func Run[T any](t *testing.T, given T, limit time.Duration, change func(*exec.Cmd)) {
	t.Helper()
	text, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), limit+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", exactly(t.Name()), "-test.v", "-test.timeout", (limit + 30*time.Second).String())
	cmd.Env = append(os.Environ(), variable+"="+string(text))
	cmd.Stdout, cmd.Stderr = &out, &out
	if change != nil {
		change(cmd)
	}
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
