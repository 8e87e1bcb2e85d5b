package datadir

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// The test binary is also the program that Inspect and Extract run, and an etcd that may crash or be killed.
func TestMain(m *testing.M) {
	wal.SegmentSizeBytes = 64 << 10
	ctx := context.Background()
	var err error
	switch dir := os.Args[len(os.Args)-1]; append(os.Args, "")[1] {
	case verb:
		if id := os.Getenv("DATADIR_TEST_UID"); id != "" {
			number, _ := strconv.Atoi(id)
			err = syscall.Setuid(number)
		}
		if err == nil {
			err = Offline(ctx, os.Args[2], dir, os.Stdout)
		}
	case "start":
		err = startOnce(ctx, dir)
	case "run":
		err = writeForever(ctx, dir)
	default:
		os.Exit(runTests(m))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runTests(m *testing.M) int {
	// A raced program sleeps for a second before it ends. The many small ones here need not.
	err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if scratch, err = os.MkdirTemp("", "datadir-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	return m.Run()
}

// member1 starts an etcd of one member on a data directory.
func member1(data, name, token string) (*embed.Etcd, error) {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.InitialClusterToken = name, data, token
	free := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenPeerUrls, cfg.ListenClientUrls = []url.URL{free}, []url.URL{free}
	cfg.InitialCluster = cfg.InitialClusterFromName(name)
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = 300, 20
	cfg.MaxWalFiles, cfg.MaxSnapFiles = 0, 0
	cfg.UnsafeNoFsync = true // the machine lives on
	logger := zap.NewNop()
	if os.Getenv("DATADIR_TEST_LOG") != "" {
		logger, _ = zap.NewDevelopment()
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err = <-e.Err():
	case <-time.After(60 * time.Second):
		err = fmt.Errorf("not ready after a minute")
	}
	e.Close()
	return nil, err
}

// startOnce starts etcd on data, and has it write and read.
func startOnce(ctx context.Context, data string) error {
	e, err := member1(data, "m1", "token")
	if err != nil {
		return err
	}
	defer e.Close()
	if _, err := e.Server.Put(ctx, &etcdserverpb.PutRequest{Key: []byte("started"), Value: []byte("yes")}); err != nil {
		return err
	}
	if err := e.Server.LinearizableReadNotify(ctx); err != nil {
		return err
	}
	_, err = fmt.Println("revision", e.Server.KV().Rev())
	return err
}

// writeForever writes some keys, says so, and waits to be killed.
func writeForever(ctx context.Context, data string) error {
	e, err := member1(data, "m1", "token")
	if err != nil {
		return err
	}
	if err := fill(ctx, e, 40); err != nil {
		return err
	}
	fmt.Println("written")
	return <-e.Err()
}

// fill puts n keys of 600 bytes, with what a database has besides: leases, deletions, a compaction.
func fill(ctx context.Context, e *embed.Etcd, n int) error {
	lease, err := e.Server.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: 3600})
	if err != nil {
		return err
	}
	for i := range n {
		put := &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "key/%05d", i), Value: []byte(strings.Repeat(fmt.Sprint(i%10), 600))}
		if i%10 == 0 {
			put.Lease = lease.ID
		}
		if _, err := e.Server.Put(ctx, put); err != nil {
			return err
		}
	}
	if _, err := e.Server.DeleteRange(ctx, &etcdserverpb.DeleteRangeRequest{Key: []byte("key/00001")}); err != nil {
		return err
	}
	_, err = e.Server.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: 5})
	return err
}

// starts tells whether etcd starts from a copy of the data, in a process of its own.
func starts(t *testing.T, data string) (bool, string) {
	t.Helper()
	copied := t.TempDir()
	copyTree(t, data, copied)
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, os.Args[0], "start", copied).CombinedOutput()
	text := string(out)
	return err == nil && strings.Contains(text, "revision"), fmt.Sprintf("%v: %.600s", err, text)
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
