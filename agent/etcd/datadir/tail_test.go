package datadir

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"rekindle/agent/etcd/etcdtest"
)

// A power cut before the database was written at all: everything is in the log, and so are the other members, who came
// there, one of them as a learner, and are not to be waited for.
func TestALogThatWasNotYetAppliedIsExtracted(t *testing.T) {
	t.Parallel()
	never := func(c *embed.Config) { c.BackendBatchInterval, c.BackendBatchLimit = time.Hour, 1<<20 }
	c := etcdtest.Start(t, 3, etcdtest.Options{Plaintext: true, Configure: never})
	client, written := c.Client(t), map[string]string{}
	for i := range 20 {
		if i == 10 {
			learner := c.New(t)
			retry(t, func() error { return second(client.MemberAddAsLearner(t.Context(), []string{learner.PeerURL})) })
		}
		key := fmt.Sprint("k", i)
		must(t, nil, second(client.Put(t.Context(), key, "v")))
		written[key] = "v"
	}
	dir := image(t, c.Leader(t))
	m, err := examine(Data(dir))
	must(t, nil, err)
	applied, end := m.db.index, m.end().Index
	m.close()
	if applied+20 > end {
		t.Fatalf("%d of %d entries are in the database: this test shows nothing", applied, end)
	}
	db, err := Extract(t.Context(), dir, Options{Deadline: 40 * time.Second})
	must(t, nil, err)
	same(t, written, keys(t, db))
}

// Extract does not hand out a database that lacks the end of the log.
func TestADatabaseThatDidNotArriveIsRefused(t *testing.T) {
	t.Parallel()
	dir, _ := fixture(t)
	m, err := examine(Data(dir))
	must(t, nil, err)
	defer m.close()
	scratch := t.TempDir()
	must(t, nil, os.MkdirAll(snapDir(scratch), 0o700))
	must(t, nil, os.WriteFile(dbPath(scratch), read(t, dbPath(Data(dir))), 0o600))
	if err := m.arrived(scratch); err != nil {
		t.Fatal(err)
	}
	inBucket("meta", "consistent_index", "\x00\x00\x00\x00\x00\x00\x02\x00")(t, scratch, "")
	if err := m.arrived(scratch); err == nil {
		t.Error("it was accepted")
	}
}
