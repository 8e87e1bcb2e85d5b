// Package keyspace looks into the etcd of a region's masters: what it holds, at which revision, in which generation, and how
// much of it the store has.
package keyspace

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"net"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/test/cloud"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// Cluster is an etcd cluster of a region.
type Cluster struct {
	Region *region.Region
	Store  string // s3://bucket/prefix
	Name   string // main or events
}

// The certificates with which etcd lets its clients in, as Identity names them.
const (
	Operator  = "etcd/healthcheck-client"
	APIServer = "apiserver-etcd-client"
)

// Dial speaks to the members of some masters as an operator on the first of them would: with its certificate. It does not
// wait for any of them.
func (c *Cluster) Dial(masters ...*node.Node) (*clientv3.Client, error) {
	if len(masters) == 0 {
		return nil, errors.New("no master to speak to")
	}
	secure, err := Identity(masters[0], Operator)
	if err != nil {
		return nil, err
	}
	return c.DialAs(secure, masters...)
}

// DialAs is Dial as somebody else: with an Identity.
func (c *Cluster) DialAs(secure *tls.Config, masters ...*node.Node) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: c.Endpoints(masters...), TLS: secure, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
	})
}

// Identity is what a node speaks to etcd with: its certificate of a name below /etc/kubernetes/pki, and the authority of etcd.
func Identity(n *node.Node, name string) (*tls.Config, error) {
	pki := n.Path("/etc/kubernetes/pki")
	authority, err := os.ReadFile(filepath.Join(pki, "etcd/ca.crt"))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, name+".crt"), filepath.Join(pki, name+".key"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s: etcd/ca.crt holds no certificate", n.ID)
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, nil
}

// Endpoints are the client URLs of the members on some masters.
func (c *Cluster) Endpoints(masters ...*node.Node) []string {
	var all []string
	for _, n := range masters {
		all = append(all, "https://"+c.address(c.Region.Cloud.Instance(n.ID)))
	}
	return all
}

// clientPorts are those of each etcd cluster (docs/roles.md).
var clientPorts = map[string]string{"main": "2379", "events": "2381"}

// address is where the member on an instance has its clients.
func (c *Cluster) address(i *cloud.Instance) string {
	return net.JoinHostPort(i.PrivateIP.String(), clientPorts[c.Name])
}

// State is all that an etcd cluster holds at a revision.
type State struct {
	Revision int64
	Keys     int
	Bytes    int64
	// Digest is of every key, its value, and whether a lease holds it.
	Digest [sha256.Size]byte
}

// page is how many keys are read at once: an answer stays well below what a client takes.
const page = 1000

// Read reads every key below a prefix at one revision; the first answer comes from a quorum.
func Read(ctx context.Context, client *clientv3.Client, prefix string) (State, error) {
	var s State
	sum, end := sha256.New(), clientv3.GetPrefixRangeEnd(prefix)
	for from, more := prefix, true; more; {
		answer, err := client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(s.Revision))
		if err != nil {
			return s, fmt.Errorf("keys from %q: %w", from, err)
		}
		if s.Revision == 0 {
			s.Revision = answer.Header.Revision
		}
		for _, kv := range answer.Kvs {
			s.Keys++
			s.Bytes += int64(len(kv.Key) + len(kv.Value))
			add(sum, kv.Key, kv.Value, binary.BigEndian.AppendUint64(nil, uint64(kv.Lease)))
			from = string(kv.Key) + "\x00"
		}
		more = answer.More
	}
	sum.Sum(s.Digest[:0])
	return s, nil
}

// add hashes parts so that no two lists of parts are the same.
func add(sum hash.Hash, parts ...[]byte) {
	for _, part := range parts {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) //nolint:errcheck // a hash never fails
		sum.Write(part)                                                  //nolint:errcheck // likewise
	}
}

// Lineage is the record in the store.
func (c *Cluster) Lineage(ctx context.Context) (*etcd.Lineage, error) {
	raw, err := c.Region.ReadStore(ctx, c.Store, etcd.Key(c.Name))
	if err != nil {
		return nil, err
	}
	var record etcd.Lineage
	if err := json.Unmarshal(raw, &record); err != nil {
		return nil, fmt.Errorf("%s: %w", etcd.Key(c.Name), err)
	}
	return &record, nil
}

// Stored is what the store has of a generation: the newest backup with its deltas. Reaches is 0 without one.
type Stored struct {
	Backup  int64 // the revision of the full backup
	Deltas  int
	Reaches int64
	Bytes   int64 // in the store
}

// Stored looks into the store, once.
func (c *Cluster) Stored(ctx context.Context, generation int) (Stored, error) {
	blobs, err := c.Region.Store(c.Store)
	if err != nil {
		return Stored{}, err
	}
	entries, err := backup.List(ctx, blobs, c.Name)
	if err != nil {
		return Stored{}, err
	}
	newest := backup.Newest(entries, generation)
	if newest == nil || newest.Generation != generation {
		return Stored{}, nil
	}
	return Stored{Backup: newest.Revision, Deltas: len(newest.Deltas), Reaches: newest.Reaches(), Bytes: newest.Stored}, nil
}

// AwaitStored waits until the store has a generation up to a revision, and tells each look.
func (c *Cluster) AwaitStored(ctx context.Context, generation int, revision int64, tell func(Stored)) (Stored, error) {
	for {
		s, err := c.Stored(ctx, generation)
		if err != nil {
			return s, err
		}
		tell(s)
		if s.Reaches >= revision {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("the store has etcd %s up to revision %d, not %d: %w", c.Name, s.Reaches, revision, context.Cause(ctx))
		case <-time.After(lookEvery):
		}
	}
}

const (
	lookEvery = 100 * time.Millisecond
	askLimit  = time.Second
)

// AwaitServing waits until one of the masters, which may come and go meanwhile, answers a read that takes a quorum. It returns a
// client of that master's member.
func (c *Cluster) AwaitServing(ctx context.Context, masters func() []*node.Node) (*clientv3.Client, error) {
	var last error
	for {
		for _, n := range masters() {
			client, err := c.serving(ctx, n)
			if err == nil {
				return client, nil
			}
			last = err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("etcd %s does not serve: %w: %w", c.Name, context.Cause(ctx), last)
		case <-time.After(lookEvery / 4):
		}
	}
}

func (c *Cluster) serving(ctx context.Context, n *node.Node) (*clientv3.Client, error) {
	if !c.listens(ctx, n) { // a gRPC client that was refused waits for a second before it tries again
		return nil, fmt.Errorf("%s: nobody listens", n.ID)
	}
	client, err := c.Dial(n)
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if _, err := client.Get(asking, "\x00", clientv3.WithCountOnly()); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

func (c *Cluster) listens(ctx context.Context, n *node.Node) bool {
	i := c.Region.Cloud.Instance(n.ID)
	if i == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.address(i))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// Compacted watches from a revision on, as a client does that was cut off, and returns the revision up to which it is told
// that nothing is left. It is an error if it hears events, or nothing.
func Compacted(ctx context.Context, client *clientv3.Client, from int64) (int64, error) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), watchLimit)
	defer cancel()
	answer, ok := <-client.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(from))
	switch {
	case !ok || ctx.Err() != nil:
		return 0, fmt.Errorf("who watches from revision %d hears nothing", from)
	case answer.CompactRevision == 0:
		return 0, fmt.Errorf("who watches from revision %d hears %d events, and not that it missed any: %w", from, len(answer.Events), answer.Err())
	}
	return answer.CompactRevision, nil
}

const watchLimit = 10 * time.Second
