package etcd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/store"
)

// The test binary is also the program that looks at data in a process of its own.
func init() {
	if len(os.Args) != 4 || os.Args[1] != "etcd-offline" {
		return
	}
	if err := datadir.Offline(context.Background(), os.Args[2], os.Args[3], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A cluster of one, as its operator meets it: asked, backed up, read back, damaged, and taken over with its data.
func TestOperatorOfALivingCluster(t *testing.T) {
	cluster := etcdtest.Start(t, 1, etcdtest.Options{})
	member := cluster.Members[0]
	client := member.Client(t)
	for i := range 5 {
		if _, err := client.Put(t.Context(), fmt.Sprint("key-", i), "value"); err != nil {
			t.Fatal(err)
		}
	}
	o := &Operator{Store: store.NewDir(t.TempDir()), Cluster: "main", Logger: slog.New(slog.DiscardHandler)}
	record := &Lineage{UID: "u", Generation: 1, State: Running, Token: "u-g1", Holder: Holder{Instance: "i-a"}, Members: []Member{
		{Name: member.Name, Instance: "i-a", Address: member.Address, PeerURL: member.PeerURL, ClientURL: member.ClientURL},
		{Name: "never", Instance: "i-b", PeerURL: "https://never:2380", Learner: true},
	}}
	t.Run("members", func(t *testing.T) { asks(t, cluster, record) })
	t.Run("save", func(t *testing.T) { saves(t, member) })
	if err := o.Create(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	taker, err := backup.NewTaker(backup.Options{
		Etcd: client, Blobs: o.Store, Records: o.Store, Cluster: "main", UID: "u", Generation: 1, Member: member.Name,
		SpoolDir: t.TempDir(), Reserve: 1, Fence: o.Fence(record),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := taker.Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("verify", func(t *testing.T) { verifies(t, o) })
	member.Stop()
	t.Run("hold", func(t *testing.T) { holds(t, member) })
}

func asks(t *testing.T, cluster *etcdtest.Cluster, record *Lineage) {
	member := cluster.Members[0]
	client, err := peers.Dial(t.Context(), peers.Options{Endpoints: record.Endpoints(), TLS: cluster.TLS})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	asked := Ask(t.Context(), client, record.Endpoints())
	if asked.View == nil || asked.Why != "" {
		t.Fatalf("no quorum: %s", asked.Why)
	}
	asked.View.Members = append(asked.View.Members, peers.Member{ID: 255, PeerURLs: []string{"https://byhand:2380"}, Learner: true})
	asked.Alarms = []peers.Alarm{{Member: member.ID(), Kind: peers.NoSpace}}
	asked.Silent["never"] = errors.New("refused")
	yes, no := true, false
	want := []MemberState{
		{Name: member.Name, Instance: "i-a", EC2: "running", Address: member.Address, PeerURL: member.PeerURL, Role: "voter", Listed: true, InEtcd: &yes,
			EtcdRole: "voter", Leader: true, Health: "ok", Version: "3.6.16", Revision: 6, Alarms: []string{"NOSPACE"}},
		{Name: "never", Instance: "i-b", EC2: NotFound, PeerURL: "https://never:2380", Role: "learner", Listed: true, InEtcd: &no, Health: "refused"},
		{Name: "ff", PeerURL: "https://byhand:2380", Role: "learner", InEtcd: &yes, EtcdRole: "learner"},
	}
	got := Beside(record, &asked, map[string]string{"i-a": "running", "i-b": NotFound})
	for i := range got {
		if i == 0 && (got[i].DBSize == 0 || got[i].InUse == 0) {
			t.Errorf("no size: %+v", got[i])
		}
		got[i].DBSize, got[i].InUse = 0, 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if waits := Waits(record, &asked); len(waits) != 0 {
		t.Errorf("waits for %q", waits)
	}
}

// Without a quorum the members that answer, and those that do not, are told apart.
func TestWaits(t *testing.T) {
	record := with(cluster(1, "a", "b", "c"), func(r *Lineage) {
		r.Members[1].Lost, r.Members[2].Position = "disk", at(3, 4)
		r.Change = &Change{Kind: Add, Member: "d", Instance: "i-d"}
	})
	asked := &Asking{Health: map[string]peers.Health{"a": {}}, Silent: map[string]error{"b": errDown, "c": errDown}}
	text := strings.Join(Waits(record, asked), "\n")
	for _, want := range []string{"i-d, which is about to add d", "to replace b, which is lost (disk)", "c stands at term 3, index 4",
		"a quorum of etcd: 1 of 3 members answer, of which these know no leader: a"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
	if text := strings.Join(Waits(rescuing("b", survivors("a", "b")), nil), "\n"); !strings.Contains(text, "i-b, which is rescuing the cluster") {
		t.Error(text)
	}
	for in, want := range map[string]string{
		`i-b: status: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 127.61.32.4:0->127.61.0.4:2379: connect: connection refused"`: "connection refused",
		"i-b: status: rpc error: code = DeadlineExceeded desc = context deadline exceeded":                                                                                                  "context deadline exceeded",
		"etcdserver: no leader": "no leader", "ok": "ok", "": "", "knows no leader": "knows no leader",
	} {
		if got := Brief(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func saves(t *testing.T, member *etcdtest.Member) {
	path := filepath.Join(t.TempDir(), "plain.db")
	told := int64(0)
	saved, err := Save(t.Context(), member.Client(t), path, func(done, _ int64) { told = done })
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil || int64(len(raw)) != saved.Size || told != saved.Size || saved.Revision != 6 || saved.Version != "3.6.16" {
		t.Fatalf("%d bytes, %d told, %+v, error %v", len(raw), told, saved, err)
	}
	sum := sha256.Sum256(raw[:len(raw)-32])
	if hex.EncodeToString(sum[:]) != saved.SHA256 || string(sum[:]) != string(raw[len(raw)-32:]) {
		t.Errorf("the sum at the end is not that of the database")
	}
	if _, err := Save(t.Context(), member.Client(t), path, func(int64, int64) {}); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a second time: %v", err)
	}
}

// verifies reads a sound backup with deltas, and then one whose parts are damaged in turn.
func verifies(t *testing.T, o *Operator) {
	look := func() backup.Entry {
		seen, err := o.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		entry, err := seen.Choose(Newest)
		if err != nil {
			t.Fatal(err)
		}
		return entry
	}
	entry := look()
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for base := int64(6); base < 9; base++ {
		var raw strings.Builder
		d := delta.Delta{Header: delta.Header{Cluster: "main", UID: "u", Generation: 1, Base: base, Last: base + 1, Events: 1, Taken: until}}
		d.Changes = []mvccpb.Event{{Type: mvccpb.PUT, Kv: &mvccpb.KeyValue{Key: []byte("later"), Value: []byte("x"), CreateRevision: 7, ModRevision: base + 1, Version: base - 5}}}
		if err := delta.Write(&raw, &d); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Store.Upload(t.Context(), entry.DeltaKey(base, base+1), strings.NewReader(raw.String())); err != nil {
			t.Fatal(err)
		}
	}
	entry = look()
	if reach := o.Reach(t.Context(), entry); reach.Revision != 9 || reach.Deltas != 3 || !reach.Until.Equal(until) {
		t.Errorf("it reaches %+v", reach)
	}
	read, all := int64(0), int64(0)
	var mu sync.Mutex
	checked, err := o.Verify(t.Context(), entry, func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		read, all = max(read, done), total
	})
	if err != nil || len(checked.Damaged) != 0 || checked.Deltas != 3 || checked.Reaches != 9 || read != all || all < entry.Snapshot {
		t.Fatalf("%+v, %d of %d bytes read, error %v", checked, read, all, err)
	}
	scratch := t.TempDir()
	if err := o.Rehearse(t.Context(), entry, scratch, datadir.Options{}, &checked, nil); err != nil || checked.Restored != 9 || len(checked.Damaged) != 0 {
		t.Fatalf("%+v, error %v", checked, err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
	dir := strings.TrimPrefix(o.Store.(*store.Dir).String(), "dir://")
	for _, c := range []struct {
		key     string
		damage  func(path string) error
		says    string
		reaches int64
	}{
		{entry.DeltaKey(7, 8), os.Remove, "1 deltas from revision 8 on follow nothing: what leads there from revision 7 is missing", 7},
		{entry.DeltaKey(7, 8), flip, "the delta is damaged", 7},
		{entry.SnapshotKey(), flip, "chunk 0", 9},
		{entry.ManifestKey(), func(path string) error { return os.Truncate(path, 100) }, "manifest", 9},
		{entry.ManifestKey(), os.Remove, "incomplete", 9},
	} {
		path := filepath.Join(dir, filepath.FromSlash(c.key))
		whole, err := os.ReadFile(path)
		if err == nil {
			err = c.damage(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		seen, err := o.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		hurt, err := seen.Choose(entry.ID)
		if err != nil {
			t.Fatal(err)
		}
		checked, err := o.Verify(t.Context(), hurt, nil)
		if err != nil || len(checked.Damaged) == 0 || !strings.Contains(checked.Damaged[0], c.says) || checked.Reaches != c.reaches {
			t.Errorf("%s: %+v, error %v; want %q, %d", c.key, checked, err, c.says, c.reaches)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// flip changes one bit in the middle of a file.
func flip(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	raw = slices.Clone(raw)
	raw[len(raw)/2] ^= 4
	return os.WriteFile(path, raw, 0o600)
}

// holds looks at the data that a member left.
func holds(t *testing.T, member *etcdtest.Member) {
	dir := t.TempDir()
	if err := os.Rename(member.DataDir, datadir.Data(dir)); err != nil {
		t.Fatal(err)
	}
	h, err := Hold(t.Context(), dir, datadir.Options{})
	if err != nil || h.Found.State != datadir.Sound || h.Self != member.Name || len(h.Members) != 1 || h.Members[0].PeerURLs[0] != member.PeerURL {
		t.Fatalf("%+v, error %v", h, err)
	}
	nothing, err := Hold(t.Context(), t.TempDir(), datadir.Options{})
	if err != nil || nothing.Found.State != datadir.Empty {
		t.Fatalf("%+v, error %v", nothing, err)
	}
}

func TestCheckTarget(t *testing.T) {
	dir := t.TempDir()
	agents := filepath.Join(dir, "etcd")
	for _, d := range []string{agents, filepath.Join(dir, "empty"), filepath.Join(dir, "full", "x")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(agents, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		"new": "", "new/below": "", "empty": "", "etcd-copy": "",
		"full": "not empty", "etcd": "agent alone", "etcd/main": "agent alone", "etcd/../etcd/x/y": "agent alone", "link/main": "agent alone",
		"full/../link": "agent alone",
	} {
		err := CheckTarget(filepath.Join(dir, path), DataRoot, agents)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want %q", path, err, says)
		}
	}
	if err := CheckTarget("/var/lib/etcd/main", DataRoot); err == nil {
		t.Error("the agent's own directory is allowed")
	}
}
