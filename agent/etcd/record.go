package etcd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"rekindle/agent/status"
	"rekindle/agent/store"
)

// swap writes a record if the one in the store is still the one that was read. A conflict with a record that holds our own
// nonce was our own write, whose answer was lost (aws-sdk-java-v2#6580); an error that leaves it open is looked into, too.
func (k *Keeper) swap(ctx context.Context, cluster string, record *Lineage, was store.Version) error {
	record.Holder = Holder{Instance: k.Instance, Nonce: nonce()}
	data, err := record.encode()
	if err != nil {
		return err
	}
	_, err = k.Records.Put(ctx, Key(cluster), data, was)
	if err == nil {
		k.Logger.Info("lineage", "etcd", cluster, "generation", record.Generation, "state", record.State, "members", len(record.Members))
		return nil
	}
	now, _, readErr := k.read(ctx, cluster)
	switch {
	case readErr == nil && now.Holder == record.Holder:
		return nil
	case errors.Is(err, store.ErrConflict):
		return err
	}
	return again("lineage: %v", err)
}

// selfTest finds out whether the store honours conditional writes: some S3-compatible ones ignore the header, and then
// two masters could both create a cluster.
func (k *Keeper) selfTest(ctx context.Context, cluster string) error {
	key := "etcd/" + cluster + "/selftest-" + nonce()
	if _, err := k.Records.Put(ctx, key, []byte("1"), ""); err != nil {
		return again("self-test of conditional writes: %v", err)
	}
	_, second := k.Records.Put(ctx, key, []byte("2"), "")
	if err := k.Records.Delete(ctx, key); err != nil {
		k.Logger.Warn("the self-test object stays in the store", "key", key, "error", err)
	}
	if errors.Is(second, store.ErrConflict) {
		return nil
	}
	if second != nil {
		return again("self-test of conditional writes: %v", second)
	}
	return status.Fail(status.ReasonEtcdBlocked, "use a store that honours If-None-Match, such as S3",
		errors.New("the store ignores If-None-Match, so it cannot keep two masters from creating a cluster each"))
}

func nonce() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails: crypto/rand aborts the process instead
	return hex.EncodeToString(raw)
}
