// Package survival takes masters away from a laboratory's cluster and watches it come back, with its data: the real agent,
// real etcd processes, a real S3 server, and EC2 and Auto Scaling as AWS answers.
package survival

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

const store = "s3://rekindle-survival/cluster"

// Cluster is a cluster of masters in a region of its own.
type Cluster struct {
	*region.Region
	t *testing.T
}

// Start launches masters, and returns before they are ready. config is laid over cluster.yaml.
func Start(t *testing.T, set binaries.Set, masters int, config string) *Cluster {
	t.Helper()
	dir := t.TempDir()
	assets := filepath.Join(dir, "assets")
	if err := demo.Assets(t.Context(), assets, dir, set, []string{"master"}, ""); err != nil {
		t.Fatal(err)
	}
	if config != "" {
		extend(t, filepath.Join(assets, "cluster.yaml"), config)
	}
	r, err := region.Start(t.Context(), region.Options{
		Dir: filepath.Join(dir, "lab"), Name: "cn-northwest-1", Binary: set.Rekindle, Standin: set.Standin,
		Config: map[string]any{"etcd": map[string]any{"runAs": "unit"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{Region: r, t: t}
	t.Cleanup(func() {
		if t.Failed() {
			c.tellLogs()
		}
		if err := errors.Join(r.Close(), r.Err()); err != nil {
			t.Error(err)
		}
	})
	if err := r.CreateStore(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	if err := r.Publish(t.Context(), assets, store, os.Stderr); err != nil {
		t.Fatal(err)
	}
	if err := r.Group("master", region.MasterProfile, masters, []byte("store: "+store+"\n")); err != nil {
		t.Fatal(err)
	}
	return c
}

func extend(t *testing.T, path, more string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		_, err = f.WriteString("\n" + more)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Ready waits until n masters, not counting those in except, are ready.
func (c *Cluster) Ready(ctx context.Context, n int, except ...string) []*node.Node {
	c.t.Helper()
	nodes, err := c.AwaitMembers(ctx, "master", n, except...)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range nodes {
		if _, err := n.Ready(ctx); err != nil {
			c.t.Fatalf("%s: %v", n.ID, err)
		}
	}
	return nodes
}

// Client speaks to the etcd of some masters, as an operator on one of them would.
func (c *Cluster) Client(of ...*node.Node) *clientv3.Client {
	c.t.Helper()
	pki := of[0].Path("/etc/kubernetes/pki/etcd")
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, "healthcheck-client.crt"), filepath.Join(pki, "healthcheck-client.key"))
	if err != nil {
		c.t.Fatal(err)
	}
	trusted, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		c.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	var endpoints []string
	for _, n := range of {
		endpoints = append(endpoints, "https://"+net.JoinHostPort(c.Cloud.Instance(n.ID).PrivateIP.String(), "2379"))
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots},
		DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Lineage is the record in the store.
func (c *Cluster) Lineage() *etcd.Lineage {
	c.t.Helper()
	raw, err := c.ReadStore(c.t.Context(), store, etcd.Key("main"))
	if err != nil {
		c.t.Fatal(err)
	}
	var record etcd.Lineage
	if err := json.Unmarshal(raw, &record); err != nil {
		c.t.Fatal(err)
	}
	return &record
}

// State is everything that etcd holds below /test/, and its revision.
type State struct {
	Revision int64
	Keys     map[string]string
}

// Read reads all keys of the test.
func (c *Cluster) Read(ctx context.Context, client *clientv3.Client) State {
	c.t.Helper()
	answer, err := client.Get(ctx, "/test/", clientv3.WithPrefix())
	if err != nil {
		c.t.Fatal(err)
	}
	s := State{Revision: answer.Header.Revision, Keys: map[string]string{}}
	for _, kv := range answer.Kvs {
		s.Keys[string(kv.Key)] = string(kv.Value)
	}
	return s
}

// Write puts n keys.
func (c *Cluster) Write(ctx context.Context, client *clientv3.Client, name string, n int) map[string]string {
	c.t.Helper()
	written := map[string]string{}
	for i := range n {
		key, value := fmt.Sprintf("/test/%s/%04d", name, i), strings.Repeat(name, 20)
		if _, err := client.Put(ctx, key, value); err != nil {
			c.t.Fatal(err)
		}
		written[key] = value
	}
	return written
}

// Holds fails unless all that was written is there.
func (s State) Holds(t *testing.T, written ...map[string]string) {
	t.Helper()
	for _, want := range written {
		for key, value := range maps.All(want) {
			if s.Keys[key] != value {
				t.Fatalf("%s is %q, was written as %q", key, s.Keys[key], value)
			}
		}
	}
}

// tellLogs shows what the agents decided about etcd.
func (c *Cluster) tellLogs() {
	logs, _ := filepath.Glob(filepath.Join(c.t.TempDir(), "..", "*", "lab", "nodes", "*", "agent.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		c.t.Log(path)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "etcd") || strings.Contains(line, "lineage") || strings.Contains(line, "FAILED") {
				c.t.Log(strings.TrimSpace(line[:min(len(line), 400)]))
			}
		}
	}
}

// Stored waits until what was written up to a revision is in the store.
func (c *Cluster) Stored(ctx context.Context, revision int64) {
	c.t.Helper()
	blobs, err := c.Store(store)
	if err != nil {
		c.t.Fatal(err)
	}
	reached := int64(0)
	for reached < revision {
		select {
		case <-ctx.Done():
			c.t.Fatalf("the store reaches revision %d, not %d", reached, revision)
		case <-time.After(200 * time.Millisecond):
		}
		entries, err := backup.List(ctx, blobs, "main")
		if err != nil {
			c.t.Fatal(err)
		}
		if newest := backup.Newest(entries, 1<<30); newest != nil {
			reached = newest.Reaches()
		}
	}
}
