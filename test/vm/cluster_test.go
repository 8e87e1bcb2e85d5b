//go:build vm

package vm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.uber.org/zap"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/pki"
	"rekindle/test/lab/keyspace"
)

// dial speaks to a master's etcd as somebody who has the store's authority for it.
func (v *vpc) dial(ctx context.Context, n *node, bucket string) (*clientv3.Client, error) {
	record, err := decode[pki.Record](ctx, v, bucket, pki.PrivateKey("etcd"))
	if err != nil {
		return nil, err
	}
	authority, err := record.Authority()
	if err != nil {
		return nil, err
	}
	key, err := pki.NewKey("ECDSA-P256")
	if err != nil {
		return nil, err
	}
	spec := pki.Spec{CommonName: "test", Usages: []string{pki.Client}, Life: time.Hour}
	leaf, err := pki.Issue(authority, spec, key.Public(), time.Now())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, c := range authority.Certificates {
		roots.AddCert(c)
	}
	return clientv3.New(clientv3.Config{
		Endpoints: []string{fmt.Sprintf("https://%s:2379", n.PrivateIP)}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
		TLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}},
	})
}

func (v *vpc) lineage(ctx context.Context, bucket string) (*etcd.Lineage, error) {
	return decode[etcd.Lineage](ctx, v, bucket, etcd.Key("main"))
}

// data is what a cluster holds, and who it is.
type data struct {
	etcd.Lineage
	keyspace.State
	cluster uint64
}

// look reads a cluster. It is an error if the cluster is not the one that the lineage calls the true one.
func (v *vpc) look(ctx context.Context, n *node, bucket string) (d data, err error) {
	record, err := v.lineage(ctx, bucket)
	if err != nil || record == nil {
		return d, errors.Join(errors.New("no lineage"), err)
	}
	client, err := v.dial(ctx, n, bucket)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	d.Lineage = *record
	if d.State, err = keyspace.Read(ctx, client, "/"); err != nil {
		return d, err
	}
	about, err := client.Status(ctx, client.Endpoints()[0])
	if err != nil {
		return d, err
	}
	d.cluster = about.Header.ClusterId
	if record.State != etcd.Running || len(record.Members) != 1 || record.Members[0].Instance != n.ID {
		return d, fmt.Errorf("the lineage is %s, with members %v", record.State, record.Members)
	}
	urls, err := types.NewURLsMap(record.Members[0].Name + "=" + record.Members[0].PeerURL)
	if err != nil {
		return d, err
	}
	want, err := membership.NewClusterFromURLsMap(zap.NewNop(), record.Token, urls)
	if err == nil && uint64(want.ID()) != d.cluster {
		err = fmt.Errorf("etcd's cluster is %x, that of the lineage %x", d.cluster, uint64(want.ID()))
	}
	return d, err
}

// What the cluster holds that is backed up: two ranges of a backup, and a delta.
const (
	keysBefore, keysSince = 3000, 100
	valueSize             = 8 << 10
)

// write writes keys until all are written: emulated, etcd takes longer at times than its own limit.
func write(ctx context.Context, client *clientv3.Client, f keyspace.Fill) error {
	for {
		err := keyspace.Write(ctx, client, f)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// fill writes keys, makes a full backup of them, writes more, and makes a delta of those: the backup that a restore takes. The
// agent's own deltas follow its first backup, which was almost empty.
func (v *vpc) fill(ctx context.Context, n *node, bucket string) (d data, err error) {
	client, err := v.dial(ctx, n, bucket)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := write(ctx, client, keyspace.Fill{Prefix: "/registry/all/", Keys: keysBefore, Size: valueSize}); err != nil {
		return d, err
	}
	record, err := v.lineage(ctx, bucket)
	if err != nil {
		return d, err
	}
	taker, err := backup.NewTaker(backup.Options{
		Etcd: client, Blobs: v.blobs(bucket), Records: v.blobs(bucket), Cluster: "main", UID: record.UID, Generation: record.Generation,
		Member: record.Members[0].Name, SpoolDir: filepath.Join(v.dir, "spool"),
		Fence: func(context.Context) error { return nil }, // there is no other master that could begin a generation
	})
	if err != nil {
		return d, err
	}
	full, manifest, err := taker.Take(ctx)
	if err != nil {
		return d, err
	}
	if err := write(ctx, client, keyspace.Fill{Prefix: "/registry/since/", Keys: keysSince, Size: 100}); err != nil {
		return d, err
	}
	if d, err = v.look(ctx, n, bucket); err != nil {
		return d, err
	}
	streaming, stop := context.WithCancel(ctx)
	defer stop()
	stream := delta.Stream{Client: client, Blobs: v.blobs(bucket), Options: delta.Options{Interval: 100 * time.Millisecond},
		Observe: func(p delta.Progress) {
			if p.Last >= d.State.Revision {
				stop()
			}
		}}
	if err := stream.Run(streaming, full, manifest); ctx.Err() != nil || !errors.Is(err, context.Canceled) {
		return d, err
	}
	entries, err := backup.List(ctx, v.blobs(bucket), "main")
	if err != nil {
		return d, err
	}
	if newest := backup.Newest(entries, record.Generation); newest == nil || newest.ID != full.ID || len(newest.Deltas) == 0 {
		return d, fmt.Errorf("a restore would take %+v, not %s", newest, full.ID)
	}
	return d, nil
}
