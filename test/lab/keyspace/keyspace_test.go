package keyspace

import (
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd/etcdtest"
)

// What is filled is read, page by page, and the digest tells every difference that a restore could make.
func TestReadTellsDifferences(t *testing.T) {
	ctx := t.Context()
	client := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true}).Client(t)
	const keys = page + 234
	if err := Write(ctx, client, Fill{Prefix: "/a/", Keys: keys, Size: 301}); err != nil {
		t.Fatal(err)
	}
	read := func() State {
		t.Helper()
		s, err := Read(ctx, client, "/a/")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := read()
	if first.Keys != keys || first.Bytes != keys*(301+int64(len("/a/00000"))) || first.Revision != 1+(keys+batch-1)/batch {
		t.Fatalf("%+v", first)
	}
	do := func(op clientv3.Op) {
		t.Helper()
		if _, err := client.Do(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	do(clientv3.OpPut("/b/", "beside"))
	if now := read(); now.Digest != first.Digest || now.Revision != first.Revision+1 {
		t.Errorf("a key beside the prefix changes the digest: %+v", now)
	}
	lease, err := client.Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	is, err := client.Get(ctx, "/a/01233")
	if err != nil || len(is.Kvs) != 1 {
		t.Fatal(is, err)
	}
	seen := map[[32]byte]string{first.Digest: "as it was"}
	for _, c := range []struct {
		name string
		op   clientv3.Op
	}{
		{"another value", clientv3.OpPut("/a/01233", "x")},
		{"a lease", clientv3.OpPut("/a/01233", string(is.Kvs[0].Value), clientv3.WithLease(lease.ID))},
		{"one key less", clientv3.OpDelete("/a/01233")},
		{"another key", clientv3.OpPut("/a/01234", string(is.Kvs[0].Value))},
	} {
		do(c.op)
		now := read()
		if other, found := seen[now.Digest]; found {
			t.Errorf("%s is like %s", c.name, other)
		}
		seen[now.Digest] = c.name
	}
}

func TestWatcherHearsOfCompaction(t *testing.T) {
	ctx := t.Context()
	client := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true}).Client(t)
	if err := Write(ctx, client, Fill{Prefix: "/a/", Keys: 3 * batch, Size: 1}); err != nil {
		t.Fatal(err)
	}
	if upTo, err := Compacted(ctx, client, 2); err == nil {
		t.Errorf("a watcher that gets all events is said to have missed those up to %d", upTo)
	}
	if _, err := client.Compact(ctx, 4); err != nil {
		t.Fatal(err)
	}
	if upTo, err := Compacted(ctx, client, 2); err != nil || upTo != 4 {
		t.Errorf("%d, %v", upTo, err)
	}
}
