package care

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/etcdtest"
)

// What was set aside long ago goes once a backup exists that is newer, on a node that leads and on one that does not; the
// newest stays, and everything of which nobody knows better.
func TestOldAsidesGo(t *testing.T) {
	w := newWorld(t, 1, etcdtest.Options{})
	c := w.carer(w.cluster.Members[0], rarely())
	dir, _ := c.Path(c.Member.DataDir)
	old := aside(t, dir, 40*24*time.Hour, uid)
	foreign := aside(t, dir, 39*24*time.Hour, "another")
	young := aside(t, dir, 20*24*time.Hour, uid)
	newest := aside(t, dir, time.Hour, uid)

	if err := c.lookAside(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err != nil {
		t.Fatalf("without a backup: %v", err)
	}
	n := w.run(w.cluster.Members[0], c)
	w.until("the old one to go", func() bool {
		_, err := os.Stat(old)
		return os.IsNotExist(err) && len(n.seen().Aside) == 3
	})
	for _, path := range []string{foreign, young, newest} {
		if _, err := os.Stat(datadir.Data(path)); err != nil {
			t.Error(err)
		}
	}
	if first := n.seen().Aside[0]; filepath.Base(first.Path) != filepath.Base(foreign) || !strings.Contains(first.Why, "test") || first.Bytes == 0 {
		t.Errorf("shown: %+v", first)
	}
	w.end()
}

// aside makes data that was set aside so long ago.
func aside(t *testing.T, dir string, ago time.Duration, uid string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(datadir.Data(dir), "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(datadir.Data(dir), "member", "snap", "db"), []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := datadir.WriteMarker(dir, datadir.Marker{UID: uid, Generation: 1, Member: "a", Token: "t"}); err != nil {
		t.Fatal(err)
	}
	path, err := datadir.SetAside(dir, time.Now().Add(-ago), "test")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSupersedes(t *testing.T) {
	t.Parallel()
	since := time.Unix(1_800_000_000, 0)
	record := &etcd.Lineage{UID: uid, Generation: 3}
	entry := func(generation int, taken, modified time.Duration) []backup.Entry {
		return []backup.Entry{{
			ID: "x", Generation: generation, Revision: 5, Complete: true, Taken: since.Add(taken), Modified: since.Add(modified),
		}}
	}
	incomplete := entry(3, time.Hour, time.Hour)
	incomplete[0].Complete = false
	mine := datadir.Marker{UID: uid, Generation: 2}
	for name, c := range map[string]struct {
		entries []backup.Entry
		marker  datadir.Marker
		want    bool
	}{
		"a newer backup":                       {entry(3, time.Hour, time.Hour), mine, true},
		"none":                                 {nil, mine, false},
		"an older one":                         {entry(3, -time.Hour, -time.Hour), mine, false},
		"newer by its node's clock alone":      {entry(3, time.Hour, -time.Hour), mine, false},
		"incomplete":                           {incomplete, mine, false},
		"of the generation before":             {entry(2, time.Hour, time.Hour), mine, false},
		"data of another cluster":              {entry(3, time.Hour, time.Hour), datadir.Marker{UID: "other", Generation: 2}, false},
		"data of a generation that is to come": {entry(3, time.Hour, time.Hour), datadir.Marker{UID: uid, Generation: 4}, false},
	} {
		if got := supersedes(record, c.entries, since)(c.marker); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
