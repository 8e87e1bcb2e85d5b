package datadir

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/features"
)

// serve runs etcd's server on a data directory until it has answered one linearizable read: then it has applied its whole
// log. It listens nowhere, and its cluster has no other member.
func serve(ctx context.Context, data, name string) error {
	logger := quiet()
	server, err := etcdserver.NewServer(config.ServerConfig{
		Name: name, DataDir: data, Logger: logger, UnsafeNoFsync: true, // Extract syncs the result
		TickMs: 100, ElectionTicks: 10, InitialElectionTickAdvance: true, PreVote: true,
		// A quota would raise the alarm that there is no space, and the alarm would be in the result.
		QuotaBackendBytes:      -1,
		SnapshotCount:          etcdserver.DefaultSnapshotCount,
		SnapshotCatchUpEntries: etcdserver.DefaultSnapshotCatchUpEntries,
		BackendFreelistType:    bolt.FreelistMapType,
		MaxTxnOps:              128, MaxRequestBytes: 1536 << 10, MaxLearners: 1,
		CompactionBatchLimit: 1000, CompactionSleepInterval: 10 * time.Millisecond,
		WarningApplyDuration: time.Minute, WarningUnaryRequestDuration: time.Minute,
		AuthToken: "simple", BcryptCost: 10, TokenTTL: 300,
		V2Deprecation:     config.V2DeprDefault,
		ServerFeatureGate: features.NewDefaultServerFeatureGate(name, logger),
	})
	if err != nil {
		return err
	}
	server.Start()
	defer server.HardStop()
	select {
	case <-server.ReadyNotify():
	case <-server.StopNotify():
		return errors.New("etcd stopped before it was ready")
	case <-ctx.Done():
		return fmt.Errorf("etcd is not ready: %w", context.Cause(ctx))
	}
	if err := server.LinearizableReadNotify(ctx); err != nil {
		return fmt.Errorf("etcd is ready, and does not read: %w", err)
	}
	return nil
}

// advise adds what to do about a disk's error.
func advise(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return fmt.Errorf("%w%s", err, remedy(number))
	}
	return err
}
