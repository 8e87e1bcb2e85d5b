package region_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// killedVariable names the directory of the lab that is to be killed, to the process that is that lab.
const killedVariable = "REKINDLE_KILLED_LAB"

// Nothing is left of a lab whose process was killed: no agent, and no unit that one has started.
func TestKilledLab(t *testing.T) {
	if dir := os.Getenv(killedVariable); dir != "" {
		beKilled(t, dir)
	}
	if testing.Short() {
		t.Skip("builds and boots a node")
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	lab := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestKilledLab$")
	lab.Env = append(os.Environ(), killedVariable+"="+dir, "TMPDIR="+dir)
	var said bytes.Buffer
	lab.Stdout, lab.Stderr = &said, &said
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- lab.Wait() }()
	for ready := filepath.Join(dir, "ready"); ; {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("the lab: %v\n%s", err, &said)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if running := node.Below(dir); len(running) < 3 {
		t.Fatalf("of a master run %v: an agent, etcd and containerd are wanted at least", running)
	}
	if err := lab.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the lab ended by itself")
	}
	ctx, cancel = context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for running := node.Below(dir); len(running) > 0; running = node.Below(dir) {
		select {
		case <-ctx.Done():
			t.Errorf("%v outlive their lab", running)
			if err := node.EndBelow(dir); err != nil {
				t.Error(err)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// beKilled boots a master and waits for its end.
func beKilled(t *testing.T, dir string) {
	r, _, _ := startIn(t, dir)
	if err := r.Group("master", region.MasterProfile, 1, []byte("store: "+store+"\n")); err != nil {
		t.Fatal(err)
	}
	ready(t.Context(), t, r, "master")
	if err := os.WriteFile(filepath.Join(dir, "ready"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-t.Context().Done()
}
