package care

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"rekindle/agent/config"
	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// A drill inspects what it restored in a process of its own, which is this binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "etcd-offline" {
		if err := datadir.Offline(context.Background(), os.Args[2], os.Args[3], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if left := ours(goleak.Find()); left != "" {
		fmt.Fprintln(os.Stderr, "goroutines are left:\n"+left)
		code = 1
	}
	os.Exit(code)
}

// ours are the goroutines of an error that are not those of etcd's servers, which begin and end some as they like.
func ours(err error) string {
	if err == nil {
		return ""
	}
	return oursOf(strings.Split(err.Error(), " Goroutine "))
}

func oursOf(goroutines []string) string {
	var left []string
	for _, goroutine := range goroutines {
		for _, part := range []string{"etcd/care", "etcd/delta", "etcd/backup", "etcd/restore", "etcd/peers", "agent/store", "watchGrpcStream"} {
			if strings.Contains(goroutine, part) {
				left = append(left, goroutine)
				break
			}
		}
	}
	return strings.Join(left, "\n")
}

var errAway = errors.New("the store is away")

// faulty is a store in a directory that can be away, slow, and full of locked objects.
type faulty struct {
	*store.Dir
	root   string
	away   atomic.Bool
	gets   atomic.Int64
	writes atomic.Int64 // that were begun
	mu     sync.Mutex
	upload func(ctx context.Context, key string) error // before each
	put    func(key string)                            // after each
	locked map[string]bool
}

func newStore(t *testing.T) *faulty {
	root := t.TempDir()
	return &faulty{Dir: store.NewDir(root), root: root, locked: map[string]bool{}}
}

func (f *faulty) down() error {
	if f.away.Load() {
		return errAway
	}
	return nil
}

func (f *faulty) before(upload func(ctx context.Context, key string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.upload = upload
}

func (f *faulty) lock(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locked[key] = true
}

func (f *faulty) Get(ctx context.Context, key string) ([]byte, store.Version, error) {
	f.gets.Add(1)
	if err := f.down(); err != nil {
		return nil, "", err
	}
	return f.Dir.Get(ctx, key)
}

func (f *faulty) Put(ctx context.Context, key string, data []byte, was store.Version) (store.Version, error) {
	f.writes.Add(1)
	if err := f.down(); err != nil {
		return "", err
	}
	version, err := f.Dir.Put(ctx, key, data, was)
	f.mu.Lock()
	put := f.put
	f.mu.Unlock()
	if put != nil && err == nil {
		put(key)
	}
	return version, err
}

func (f *faulty) Upload(ctx context.Context, key string, r io.Reader) (store.Blob, error) {
	f.writes.Add(1)
	f.mu.Lock()
	upload := f.upload
	f.mu.Unlock()
	if upload != nil {
		if err := upload(ctx, key); err != nil {
			return store.Blob{}, err
		}
	}
	if err := f.down(); err != nil {
		return store.Blob{}, err
	}
	return f.Dir.Upload(ctx, key, r)
}

func (f *faulty) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := f.down(); err != nil {
		return nil, err
	}
	return f.Dir.Open(ctx, key, offset, length)
}

func (f *faulty) Blobs(ctx context.Context, prefix string) ([]store.Blob, error) {
	if err := f.down(); err != nil {
		return nil, err
	}
	return f.Dir.Blobs(ctx, prefix)
}

func (f *faulty) Remove(ctx context.Context, key string) error {
	f.writes.Add(1)
	f.mu.Lock()
	locked := f.locked[key]
	f.mu.Unlock()
	if locked {
		return store.ErrLocked
	}
	if err := f.down(); err != nil {
		return err
	}
	return f.Dir.Remove(ctx, key)
}

// world is a cluster, its record, and the nodes that carry its members.
type world struct {
	t       *testing.T
	cluster *etcdtest.Cluster
	store   *faulty
	client  *clientv3.Client
	nodes   map[string]*node // by member
}

// node is the agent beside one member.
type node struct {
	*Carer
	stop func()
}

const uid = "0123"

func newWorld(t *testing.T, members int, o etcdtest.Options) *world {
	t.Helper()
	t.Parallel()
	return newWorldAlone(t, members, o)
}

// newWorldAlone is for a test that looks at all goroutines: those that run beside others have not begun yet.
func newWorldAlone(t *testing.T, members int, o etcdtest.Options) *world {
	t.Helper()
	o.Plaintext = true
	w := &world{t: t, cluster: etcdtest.Start(t, members, o), store: newStore(t), nodes: map[string]*node{}}
	w.client = w.cluster.Client(t)
	w.put("first")
	w.record(1)
	return w
}

// record writes the lineage with all members, in a generation.
func (w *world) record(generation int) {
	w.t.Helper()
	record := etcd.Lineage{
		UID: uid, Generation: generation, State: etcd.Running, Token: fmt.Sprintf("%s-g%d", uid, generation),
		Holder: etcd.Holder{Instance: "i-holder", Nonce: "n"},
	}
	for _, m := range w.cluster.Members {
		record.Members = append(record.Members, etcd.Member{
			Name: m.Name, Instance: m.Name, Address: m.Address, PeerURL: m.PeerURL, ClientURL: m.ClientURL,
		})
	}
	data, err := json.Marshal(record)
	if err != nil {
		w.t.Fatal(err)
	}
	_, was, _ := w.store.Dir.Get(w.t.Context(), etcd.Key("main"))
	if _, err := w.store.Dir.Put(w.t.Context(), etcd.Key("main"), data, was); err != nil {
		w.t.Fatal(err)
	}
}

// often is a pace at which a test does not wait long.
var often = pace{
	look: 50 * time.Millisecond, due: 100 * time.Millisecond, retry: 50 * time.Millisecond, upkeep: 100 * time.Millisecond,
	turn: time.Second, drill: 100 * time.Millisecond, asides: 100 * time.Millisecond, compare: time.Hour,
}

// rarely is what a test that is about something else wants.
func rarely() config.EtcdBackup {
	return config.EtcdBackup{Interval: time.Hour, Deltas: 100 * time.Millisecond, Drill: 1000 * time.Hour, SpoolDir: "/spool"}
}

func (w *world) carer(m *etcdtest.Member, c config.EtcdBackup) *Carer {
	w.t.Helper()
	root := w.t.TempDir()
	path := func(p string) (string, error) { return filepath.Join(root, p), nil }
	logger := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		logger = slog.New(slog.NewTextHandler(w.t.Output(), nil)).With("node", m.Name)
	}
	board := status.NewBoard(filepath.Join(root, "status.json"), "test", logger)
	w.t.Cleanup(func() { _ = board.Close() })
	return &Carer{
		Member: plan.Etcd{Name: "main", DataDir: "/etcd", Version: "3.6.16"}, Instance: m.Name, Config: c, Store: w.store,
		Keeper: &etcd.Keeper{
			Records: w.store, Instance: m.Name, Path: path, Logger: logger,
			Ask: etcd.Asked{Instances: func(context.Context, []string) (etcd.Instances, error) { return etcd.Instances{}, nil }},
		},
		Dial: func(ctx context.Context, all []peers.Endpoint) (*peers.Client, error) {
			return peers.Dial(ctx, peers.Options{Endpoints: all})
		},
		Path: path, Board: board, Logger: logger, pace: often,
	}
}

// start lets the node of a member look after the cluster, until the test ends or it is stopped.
func (w *world) start(m *etcdtest.Member, c config.EtcdBackup) *node {
	w.t.Helper()
	return w.run(m, w.carer(m, c))
}

func (w *world) run(m *etcdtest.Member, c *Carer) *node {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	n := &node{Carer: c, stop: func() { cancel(); <-ended }}
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	w.nodes[m.Name] = n
	w.t.Cleanup(n.stop)
	return n
}

// end stops all nodes.
func (w *world) end() {
	w.t.Helper()
	for _, n := range w.nodes {
		n.stop()
		if err := n.Board.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

// put writes a key and returns its revision, which was acknowledged.
func (w *world) put(value string) int64 {
	w.t.Helper()
	answer, err := w.client.Put(w.t.Context(), "key", value)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.Header.Revision
}

func (w *world) list() []backup.Entry {
	w.t.Helper()
	entries, err := backup.List(w.t.Context(), w.store.Dir, "main")
	if err != nil {
		w.t.Fatal(err)
	}
	return entries
}

func (w *world) complete() []backup.Entry {
	w.t.Helper()
	return backup.Candidates(w.list(), 1<<30)
}

// covered waits until what a restore would arrive at has a revision.
func (w *world) covered(revision int64) {
	w.t.Helper()
	w.until(fmt.Sprintf("revision %d to be stored", revision), func() bool {
		all := w.complete()
		return len(all) > 0 && all[0].Reaches() >= revision
	})
}

// until waits for something that has to come.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, e := range w.list() {
				w.t.Logf("%s: complete %t, revision %d, %d deltas, reaches %d", e.ID, e.Complete, e.Revision, len(e.Deltas), e.Reaches())
			}
			for name, n := range w.nodes {
				seen, _ := json.Marshal(n.seen())
				w.t.Logf("%s: %s", name, seen)
			}
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// seen is what the node shows of the cluster.
func (n *node) seen() status.Etcd {
	for _, e := range n.Board.Snapshot().Etcd {
		if e.Cluster == "main" {
			return e
		}
	}
	return status.Etcd{}
}

func (n *node) failed() string {
	if b := n.seen().Backup; b != nil {
		return b.Failed
	}
	return ""
}

func isSnapshot(key string) bool { return strings.HasSuffix(key, "/snapshot.zst") }
