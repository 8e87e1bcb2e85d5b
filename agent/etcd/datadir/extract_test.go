package datadir

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/verify"

	"rekindle/agent/etcd/etcdtest"
)

// home is a member's directory whose data is a link to that of a member of a test cluster.
func home(t *testing.T, m *etcdtest.Member) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(m.DataDir, Data(dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// image is what a power cut leaves of a member that runs: a copy of its files, made while nothing is written to them.
func image(t *testing.T, m *etcdtest.Member) string {
	t.Helper()
	for range 50 {
		dir, before := t.TempDir(), state(t, m.DataDir)
		copyTree(t, m.DataDir, Data(dir))
		if state(t, m.DataDir) == before {
			return dir
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("member %s never rests", m.Name)
	return ""
}

// state is the sizes and times of the files of a member.
func state(t *testing.T, dir string) (text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		text += fmt.Sprintln(path, info.Size(), info.ModTime())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// extracted is what Extract makes of a directory, after a look that it left the data alone.
func extracted(t *testing.T, dir string) map[string]string {
	t.Helper()
	before := digest(t, Data(dir)+"/")
	db, err := Extract(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if digest(t, Data(dir)+"/") != before {
		t.Error("Extract changed the data")
	}
	return keys(t, db)
}

func must(t *testing.T, _ any, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func small(c *embed.Config) { c.SnapshotCount, c.SnapshotCatchUpEntries = 20, 5 }

func TestEverythingAcknowledgedIsExtracted(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprint(n, " members"), func(t *testing.T) {
			c := etcdtest.Start(t, n, etcdtest.Options{Plaintext: true, Configure: small})
			client := c.Client(t)
			written := map[string]string{}
			write := func(i int) {
				t.Helper()
				key, value := fmt.Sprintf("k%03d", i), strings.Repeat("v", 100+i)
				must(t, nil, second(client.Put(t.Context(), key, value)))
				written[key] = value
			}
			for i := range 50 {
				write(i)
			}
			leader := c.Leader(t)
			if n == 3 {
				extractBehind(t, c, leader, written, write)
			}

			// The majority dies; what the leader could still write down was acknowledged to nobody.
			for _, m := range c.Members {
				if m != leader {
					m.Kill()
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := leader.Client(t).Put(ctx, "late", "x"); err == nil {
				t.Fatal("a minority could write")
			}
			leader.Kill()
			got := extracted(t, home(t, leader))
			delete(got, "late")
			same(t, written, got)
		})
	}
}

// extractBehind extracts from a follower that had not heard that its last entry, which was acknowledged, is committed.
func extractBehind(t *testing.T, c *etcdtest.Cluster, leader *etcdtest.Member, written map[string]string, write func(int)) {
	t.Helper()
	best, furthest := "", Position{}
	for i := 50; best == ""; i++ {
		if i == 70 {
			t.Fatal("the members always know that the last entry is committed: this test shows nothing")
		}
		time.Sleep(300 * time.Millisecond) // for the databases to have what was applied, so that the next write is beyond
		write(i)
		best, furthest = mostAdvanced(t, c, leader)
	}
	found, err := Inspect(t.Context(), best, Options{})
	if err != nil || found.State != Sound || found.Position.Index != furthest.Index {
		t.Fatalf("found %+v, %v", found, err)
	}
	same(t, written, extracted(t, best))
}

// mostAdvanced is the image of the follower whose log goes furthest; "" if it knows that its last entry was committed.
func mostAdvanced(t *testing.T, c *etcdtest.Cluster, leader *etcdtest.Member) (best string, furthest Position) {
	t.Helper()
	for _, m := range c.Members {
		if m == leader {
			continue
		}
		dir := image(t, m)
		seen, err := examine(Data(dir))
		must(t, nil, err)
		if end := seen.end(); furthest.Less(end) {
			best, furthest = dir, end
			if seen.journal.state.Commit == end.Index {
				best = ""
			}
		}
		seen.close()
	}
	return best, furthest
}

func second[T any](_ T, err error) error { return err }

func same(t *testing.T, want, got map[string]string) {
	t.Helper()
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s: %d bytes, want %d", key, len(got[key]), len(value))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d keys, want %d", len(got), len(want))
	}
}

// A log in which members came, were promoted and went, as a learner has it, and as a voter that stayed.
func TestAChangedClusterIsExtracted(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 3, etcdtest.Options{Plaintext: true, Configure: small})
	client, written := c.Client(t), map[string]string{}
	write := func(n int) {
		for i := range n {
			key := fmt.Sprintf("k%d-%d", len(written), i)
			must(t, nil, second(client.Put(t.Context(), key, "v")))
			written[key] = "v"
		}
	}
	write(30)
	gone := c.Members[0]
	if gone == c.Leader(t) {
		gone = c.Members[1]
	}
	id := gone.ID()
	gone.Stop()
	retry(t, func() error { return second(client.MemberRemove(t.Context(), id)) })
	learner := c.New(t)
	retry(t, func() error { return second(client.MemberAddAsLearner(t.Context(), []string{learner.PeerURL})) })
	learner.Join(t)
	write(5)
	lease, err := client.Grant(t.Context(), 3600)
	must(t, nil, err)
	must(t, nil, second(client.Put(t.Context(), "leased", "v", clientv3.WithLease(lease.ID))))
	written["leased"] = "v"
	retry(t, func() error { return reached(learner.Client(t), lease.ResponseHeader.Revision+1) })
	for _, m := range []*etcdtest.Member{learner, c.Leader(t)} {
		m.Stop()
		dir := home(t, m)
		found, err := Inspect(t.Context(), dir, Options{})
		if err != nil || found.State != Sound {
			t.Fatalf("found %+v, %v", found, err)
		}
		same(t, written, extracted(t, dir))
		if !leased(t, dbPath(Scratch(dir)), int64(lease.ID)) {
			t.Error("the lease is gone")
		}
	}
}

// reached asks a learner, which answers nothing else, how far it is.
func reached(learner *clientv3.Client, revision int64) error {
	answer, err := learner.Get(context.Background(), "leased", clientv3.WithSerializable())
	if err == nil && answer.Header.Revision < revision {
		err = fmt.Errorf("revision %d, want %d", answer.Header.Revision, revision)
	}
	return err
}

func leased(t *testing.T, path string, id int64) (found bool) {
	t.Helper()
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true})
	must(t, nil, err)
	defer db.Close()
	must(t, nil, db.View(func(tx *bolt.Tx) error {
		found = tx.Bucket([]byte("lease")).Get(binary.BigEndian.AppendUint64(nil, uint64(id))) != nil
		return nil
	}))
	return found
}

func retry(t *testing.T, do func() error) {
	t.Helper()
	var err error
	for range 150 {
		if err = do(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal(err)
}

// A killed etcd leaves a database that is ahead of what its log says is committed. etcd's own verify refuses it; etcd
// starts from it.
func TestWhatAKilledEtcdLeavesIsSound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "run", Data(dir))
	out, err := cmd.StdoutPipe()
	must(t, nil, err)
	cmd.Stderr = os.Stderr
	must(t, nil, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "written\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if found, err := Inspect(t.Context(), dir, Options{}); err != nil || found.State != Busy {
		t.Errorf("while it runs: %+v, %v", found, err)
	}
	if _, err := SetAside(dir, time.Now(), ""); err == nil {
		t.Error("it was set aside while it runs")
	}
	if _, err := Extract(t.Context(), dir, Options{}); err == nil || !has(err.Error(), "stop it first") {
		t.Errorf("extract while it runs: %v", err)
	}
	time.Sleep(500 * time.Millisecond) // for the database to have what was applied
	must(t, nil, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait()

	m, err := examine(Data(dir))
	must(t, nil, err)
	ahead := m.db.index > m.journal.state.Commit
	m.close()
	if !ahead {
		t.Error("the database is not ahead of the log: this test shows nothing")
	}
	copied := t.TempDir()
	copyTree(t, Data(dir), copied)
	if err := verify.Verify(verify.Config{DataDir: copied, Logger: quiet()}); err == nil {
		t.Error("etcd's verify finds nothing: then it could be used")
	}
	found, err := Inspect(t.Context(), dir, Options{})
	if err != nil || found.State != Sound {
		t.Fatalf("found %+v, %v", found, err)
	}
	if ok, said := starts(t, Data(dir)); !ok {
		t.Error(said)
	}
	if all := extracted(t, dir); len(all) != 39 || all["key/00039"] == "" {
		t.Errorf("%d keys", len(all))
	}
}

func TestTornDataIsNotExtracted(t *testing.T) {
	t.Parallel()
	dir, _ := fixture(t)
	change(t, dbPath(Data(dir)), func(b []byte) []byte { return b[:100*pageSize] })
	if db, err := Extract(t.Context(), dir, Options{}); err == nil || !has(err.Error(), "restore a backup") {
		t.Errorf("%q, %v", db, err)
	}
}

// What an earlier Extract left does not matter.
func TestExtractReplacesItsScratch(t *testing.T) {
	t.Parallel()
	dir, _ := fixture(t)
	must(t, nil, os.MkdirAll(walDir(Scratch(dir)), 0o700))
	write(t, filepath.Join(walDir(Scratch(dir)), "0000000000000000-0000000000000000.wal"))
	if all := extracted(t, dir); len(all) != 699 {
		t.Errorf("%d keys, want 699", len(all))
	}
}
