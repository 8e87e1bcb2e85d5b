package assets

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"rekindle/agent/status"
)

func TestPublishThenFetch(t *testing.T) {
	files := map[string][]byte{
		"bin/kubelet":         noise(1, 3*ChunkSize+17),
		"images/pause.tar":    noise(2, ChunkSize),
		"roles/common/a.conf": []byte("a\n"),
		"empty":               {},
		"cluster.yaml":        []byte("cluster: demo\n"),
	}
	s := opened(t, Options{Sources: []Source{published(t, files)}})
	if err := s.Fetch(t.Context(), s.Manifest().Objects...); err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		if got := fetched(t, s, path); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes that differ from what was published", path, len(got))
		}
	}
	if err := s.Fetch(t.Context(), s.Manifest().Objects...); err != nil {
		t.Fatal(err)
	}
}

func TestTimeline(t *testing.T) {
	store, _, o := bigStore(t)
	src := &faulty{Source: store, name: "store"}
	calls := 0
	src.get = func(context.Context, Range) (io.ReadCloser, error) {
		if calls++; calls == 1 {
			return nil, errors.New("503 Slow Down")
		}
		return nil, nil
	}
	s := opened(t, Options{Sources: []Source{src}, Parallel: 1})
	line := status.NewTimeline("boot", time.Now())
	if err := s.Fetch(status.WithTimeline(t.Context(), line), o); err != nil {
		t.Fatal(err)
	}
	if len(line.Root.Steps) != 1 || line.Root.Steps[0].Name != "assets" || len(line.Root.Steps[0].Steps) != 1 {
		t.Fatalf("steps %+v, want assets and the object below it", line.Root.Steps)
	}
	step := line.Root.Steps[0].Steps[0]
	if step.Name != "big" || step.Bytes != o.Size || step.Attempts != 2 || step.End.IsZero() || step.Error != "" {
		t.Errorf("step %+v, want %d bytes in 2 attempts", step, o.Size)
	}
}
