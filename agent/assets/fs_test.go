package assets

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func TestFS(t *testing.T) {
	s := opened(t, Options{Sources: []Source{published(t, map[string][]byte{
		"roles/master/role.yaml":              []byte("assets: []\n"),
		"roles/master/rootfs/etc/a.conf.tmpl": []byte("a"),
		"roles/minion/role.yaml":              {},
		"rolesque":                            []byte("no role"),
		"bin/kubelet":                         []byte("k"),
	})}})
	if _, err := fs.ReadFile(s.FS("roles"), "master/role.yaml"); err == nil || !strings.Contains(err.Error(), "prefetch") {
		t.Errorf("a file that is not in the cache: %v", err)
	}
	if err := s.Prefetch(t.Context(), "roles"); err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(s.FS("roles"), "master/role.yaml", "master/rootfs/etc/a.conf.tmpl", "minion/role.yaml"); err != nil {
		t.Error(err)
	}
	entries, err := fs.ReadDir(s.FS("roles"), ".")
	if err != nil || len(entries) != 2 || entries[0].Name() != "master" || entries[1].Name() != "minion" {
		t.Errorf("ReadDir = %v, %v", entries, err)
	}
	if o, _ := s.Manifest().Lookup("bin/kubelet"); s.cache.has(o) {
		t.Error("prefetching roles fetched bin/kubelet")
	}
	if err := s.Prefetch(t.Context(), "."); err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(s.FS("."), "bin/kubelet", "rolesque"); err != nil {
		t.Error(err)
	}
	if err := fstest.TestFS(s.FS("none")); err != nil {
		t.Error(err)
	}
}
