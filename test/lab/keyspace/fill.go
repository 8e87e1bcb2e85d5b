package keyspace

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// Fill says what to write.
type Fill struct {
	Prefix string
	Keys   int
	Size   int // bytes of a value; half of them are text, half are random, as objects of Kubernetes compress
	// Lease, unless 0, holds every key.
	Lease clientv3.LeaseID
}

// batch is how many keys a transaction writes; etcd takes 128 unless told otherwise (--max-txn-ops).
const batch = 100

// writers is how many transactions are under way at once.
const writers = 4

// Write writes the keys <prefix>00000 and on.
func Write(ctx context.Context, client *clientv3.Client, f Fill) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for first := 0; first < f.Keys; first += batch {
		group.Go(func() error {
			var puts []clientv3.Op
			for i := first; i < min(first+batch, f.Keys); i++ {
				puts = append(puts, f.put(i))
			}
			if _, err := client.Txn(ctx).Then(puts...).Commit(); err != nil {
				return fmt.Errorf("keys from %s%05d: %w", f.Prefix, first, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (f Fill) put(i int) clientv3.Op {
	var options []clientv3.OpOption
	if f.Lease != 0 {
		options = append(options, clientv3.WithLease(f.Lease))
	}
	return clientv3.OpPut(fmt.Sprintf("%s%05d", f.Prefix, i), value(uint64(i), f.Size), options...)
}

const text = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"default","labels":{"app":"rekindle"}}} `

func value(seed uint64, size int) string {
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	half := make([]byte, size/2)
	random.Read(half) //nolint:errcheck // never fails
	return (strings.Repeat(text, size/len(text)+1))[:size-len(half)] + string(half)
}
