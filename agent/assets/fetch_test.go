package assets

import (
	"bytes"
	"testing"
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
