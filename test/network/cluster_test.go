//go:build network

package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// The store's bucket and prefix.
const (
	bucket = "rekindle-network"
	prefix = "cluster"
	store  = "s3://" + bucket + "/" + prefix
)

// The groups of Auto Scaling.
const (
	masters = "master"
	minions = "minion"
)

// apiName is what kubelets call the API servers.
const apiName = "api.internal.demo"

// ready is how long a cluster may take to boot, on a machine that is busy with others.
const ready = 2 * time.Minute

// Shape is what a cluster begins as.
type Shape struct {
	Masters, Minions int
	Route53          bool
	Config           string // more user-data
	// Before, unless nil, is called when the store is there and no node is.
	Before func(c *Cluster)
}

// Cluster is one in a region of its own, with a client on each minion.
type Cluster struct {
	*region.Region
	t       *testing.T // of the step that is under way
	whole   *testing.T
	dir     string
	clients map[string]*client // by the minion's instance
}

// Step is a part of a cluster's life that proves something of its own. What comes after it needs it: if it fails, the test ends.
func (c *Cluster) Step(name string, step func(t *testing.T)) {
	c.t.Helper()
	passed := c.whole.Run(name, func(t *testing.T) {
		c.t = t
		step(t)
	})
	c.t = c.whole
	if !passed {
		c.t.FailNow()
	}
}

// start makes a region with a store, launches the nodes of a shape, and waits until all are ready and know each other.
func start(ctx context.Context, t *testing.T, p prepared, shape Shape) *Cluster {
	t.Helper()
	dir := t.TempDir()
	r, err := region.Start(ctx, region.Options{
		Dir: filepath.Join(dir, "lab"), Name: "cn-northwest-1", VPC: true, Route53: shape.Route53,
		Binary: p.Programs.Rekindle, Standin: p.Programs.Standin,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{Region: r, t: t, whole: t, dir: dir, clients: map[string]*client{}}
	t.Cleanup(func() {
		c.stop()
		if t.Failed() {
			c.tellLogs()
		}
		if err := errors.Join(r.Close(), r.Err()); err != nil {
			t.Error(err)
		}
	})
	if err := r.CreateStore(ctx, store); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"manifest.json", "cluster.yaml"} {
		data, err := os.ReadFile(filepath.Join(p.Mirror, name))
		if err != nil {
			t.Fatal(err)
		}
		key := prefix + "/" + name
		if _, err := r.S3.Client().PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(data)}); err != nil {
			t.Fatal(err)
		}
	}
	if shape.Before != nil {
		shape.Before(c)
	}
	userData := fmt.Appendf(nil, "store: %s\nmirrors: [dir://%s]\n%s", store, p.Mirror, shape.Config)
	begun := time.Now()
	err = errors.Join(r.Group(masters, region.MasterProfile, shape.Masters, userData), r.Group(minions, region.NodeProfile, shape.Minions, userData))
	if err != nil {
		t.Fatal(err)
	}
	c.Whole(ctx, ready, shape.Masters, shape.Minions)
	t.Logf("measured: %d masters and %d minions are ready and know each other after %s", shape.Masters, shape.Minions, since(begun))
	return c
}

// Whole waits until there are so many masters and minions, all of them ready, with a client on each minion that is answered, and
// every node has all names right.
func (c *Cluster) Whole(ctx context.Context, limit time.Duration, masterCount, minionCount int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for group, n := range map[string]int{masters: masterCount, minions: minionCount} {
		nodes, err := c.AwaitMembers(ctx, group, n)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, n := range nodes {
			if _, err := n.Ready(ctx); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	for _, n := range c.Members(minions) {
		c.follow(ctx, n)
	}
	c.Await(ctx, "every node has the names right", c.namesRight)
	c.answered(ctx, c.Members(minions)...)
}

// Await asks until it is told that all is well, and fails with the last answer when ctx ends. It returns how long that took.
func (c *Cluster) Await(ctx context.Context, what string, ask func() error) time.Duration {
	c.t.Helper()
	begun := time.Now()
	for {
		err := ask()
		if err == nil {
			return since(begun)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			c.t.Fatalf("%s: %v: %v", what, ctx.Err(), err)
		}
	}
}

// Within is Await with a limit.
func (c *Cluster) Within(ctx context.Context, limit time.Duration, what string, ask func() error) time.Duration {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.Await(ctx, what, ask)
}

// Throughout asks again and again for a while, and fails when the answer has been an error for longer than grace.
func (c *Cluster) Throughout(ctx context.Context, d, grace time.Duration, what string, ask func() error) {
	c.t.Helper()
	well := time.Now()
	for end := time.After(d); ; {
		err := ask()
		if err == nil {
			well = time.Now()
		}
		if err != nil && time.Since(well) > grace {
			c.t.Fatalf("%s: for %s: %v", what, since(well), err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-end:
			return
		case <-ctx.Done():
			c.t.Fatalf("%s: %v", what, ctx.Err())
		}
	}
}

// Address is that of a node.
func (c *Cluster) Address(n *node.Node) netip.Addr { return c.Cloud.Instance(n.ID).PrivateIP }

// Addresses are those of nodes, in order.
func (c *Cluster) Addresses(nodes ...*node.Node) []netip.Addr {
	var all []netip.Addr
	for _, n := range nodes {
		all = append(all, c.Address(n))
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// Etcd is the cluster's etcd.
func (c *Cluster) Etcd() *keyspace.Cluster {
	return &keyspace.Cluster{Region: c.Region, Store: store, Name: "main"}
}

// Generation fails unless etcd is still the cluster that it was in the beginning, or the nth after it.
func (c *Cluster) Generation(ctx context.Context, want int) {
	c.t.Helper()
	record, err := c.Etcd().Lineage(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	if record.Generation != want {
		c.t.Errorf("etcd is of generation %d, not %d: %+v", record.Generation, want, record)
	}
}

// tellLogs shows what agents wait for, and what they logged.
func (c *Cluster) tellLogs() {
	for _, n := range c.Nodes() {
		if s, err := n.Status(); err == nil && len(s.Waits) > 0 {
			c.whole.Logf("%s waits: %+v", n.ID, s.Waits)
		}
	}
	logs, _ := filepath.Glob(filepath.Join(c.dir, "lab", "nodes", "*", "agent.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		c.whole.Log(path)
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, " changed ") { // files and units
				c.whole.Log(strings.TrimSpace(line[:min(len(line), 600)]))
			}
		}
	}
}

func ids(nodes []*node.Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.ID)
	}
	return all
}

func since(t time.Time) time.Duration { return time.Since(t).Round(10 * time.Millisecond) }
