// Package survival takes masters away from a laboratory's cluster and watches it come back, with its data: the real agent,
// real etcd processes, a real S3 server, and EC2 and Auto Scaling as AWS answers.
package survival

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd"
	"rekindle/agent/status"
	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// The store's bucket and prefix.
const (
	bucket = "rekindle-survival"
	prefix = "cluster"
	store  = "s3://" + bucket + "/" + prefix
)

// Shape is what a cluster begins as.
type Shape struct {
	Masters int
	Config  string // laid over cluster.yaml
	Zonal   bool   // a group in each zone, instead of Masters
	Role    string // of the nodes that have etcd; default master
	Long    bool   // the test takes a minute or more: it begins at once
	Clock   bool   // etc/clock-offset in a root says by how many seconds the node's clock is off
	// Before, unless nil, is called when the store is there and no node is.
	Before func(c *Cluster)
	// Bake, unless nil, changes a root before its first boot.
	Bake func(c *Cluster, root string) error
}

// Cluster is a cluster of masters in a region of its own.
type Cluster struct {
	*region.Region
	t      *testing.T // of the step that is under way
	whole  *testing.T
	dir    string
	mirror string
	shape  Shape
	groups []string // of Auto Scaling, that have etcd
	mounts []string
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

func (c *Cluster) bake(root string) error {
	if c.shape.Bake == nil {
		return nil
	}
	return c.shape.Bake(c, root)
}

// launch makes the groups.
func (c *Cluster) launch() {
	c.t.Helper()
	role := c.shape.Role
	if role == "" {
		role = "master"
	}
	var err error
	if c.shape.Zonal {
		c.groups, err = c.ZonalGroups(role, region.MasterProfile, c.UserData(c.shape.Config))
	} else {
		c.groups = []string{role}
		err = c.Group(role, region.MasterProfile, c.shape.Masters, c.UserData(c.shape.Config))
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// UserData says where the store and the objects are, and more.
func (c *Cluster) UserData(more string) []byte {
	return fmt.Appendf(nil, "store: %s\nmirrors: [%s]\n%s", store, c.mirror, more)
}

// Group is the Auto Scaling group of the masters, when there is one.
func (c *Cluster) group() string { return c.groups[0] }

// Masters are the nodes of the groups, launched and not ended.
func (c *Cluster) Masters() []*node.Node {
	var all []*node.Node
	for _, group := range c.groups {
		all = append(all, c.Members(group)...)
	}
	return all
}

// Ready waits until n masters, not counting those in except, are ready.
func (c *Cluster) Ready(ctx context.Context, n int, except ...string) []*node.Node {
	c.t.Helper()
	var nodes []*node.Node
	for _, group := range c.groups {
		found, err := c.AwaitMembers(ctx, group, n/len(c.groups), except...)
		if err != nil {
			c.t.Fatal(err)
		}
		nodes = append(nodes, found...)
	}
	for _, n := range nodes {
		if _, err := n.Ready(ctx); err != nil {
			c.t.Fatalf("%s: %v", n.ID, err)
		}
	}
	return nodes
}

// Converge is Ready for masters whose agents were killed: what fails is tried again.
func (c *Cluster) Converge(ctx context.Context, n int) []*node.Node {
	c.t.Helper()
	var nodes []*node.Node
	c.Await(ctx, fmt.Sprintf("%d masters are ready", n), func() error {
		nodes = c.Masters()
		for _, n := range nodes {
			s, err := n.Status()
			if err == nil && (s.State != status.StateReady || s.Agent.PID != n.PID()) {
				err = fmt.Errorf("%s: %s: %s", n.ID, s.State, s.Message)
			}
			if err != nil {
				return err
			}
		}
		return atLeast(len(nodes), n)
	})
	return nodes
}

// New waits for the one master that is not among those that were there before, and until it is ready.
func (c *Cluster) New(ctx context.Context, before []*node.Node) *node.Node {
	c.t.Helper()
	return c.Ready(ctx, 1, ids(before)...)[0]
}

func ids(nodes []*node.Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.ID)
	}
	return all
}

// End terminates masters, all at once.
func (c *Cluster) End(nodes ...*node.Node) {
	c.t.Helper()
	if _, err := c.TerminateAll(ids(nodes)); err != nil {
		c.t.Fatal(err)
	}
}

// Await asks until it is told that all is well, and fails with the last answer when the test's time is over.
func (c *Cluster) Await(ctx context.Context, what string, ask func() error) {
	c.t.Helper()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			c.t.Fatalf("%s: %v: %v", what, ctx.Err(), err)
		}
	}
}

// Says waits until what an agent says of its etcd main is as wanted.
func (c *Cluster) Says(ctx context.Context, n *node.Node, what string, holds func(s *status.Status, e *status.Etcd) bool) *status.Status {
	c.t.Helper()
	var said *status.Status
	c.Await(ctx, n.ID+" says "+what, func() error {
		s, err := n.Status()
		if err != nil {
			return err
		}
		for i := range s.Etcd {
			if s.Etcd[i].Cluster == "main" && holds(s, &s.Etcd[i]) {
				said = s
				return nil
			}
		}
		return fmt.Errorf("%s %s %s, waits %+v, etcd %+v", s.State, s.Reason, s.Message, s.Waits, s.Etcd)
	})
	return said
}

// row is for Says: the decision was made by a row of the table.
func row(name string) func(*status.Status, *status.Etcd) bool {
	return func(_ *status.Status, e *status.Etcd) bool { return e.Row == name }
}

// Etcd is one of the cluster's etcd clusters: main or events.
func (c *Cluster) Etcd(name string) *keyspace.Cluster {
	return &keyspace.Cluster{Region: c.Region, Store: store, Name: name}
}

// Client speaks to the etcd of some masters, as an operator on the first of them would.
func (c *Cluster) Client(of ...*node.Node) *clientv3.Client {
	c.t.Helper()
	return c.closing(c.Etcd("main").Dial(of...))
}

// EventsClient is Client, for the etcd of events.
func (c *Cluster) EventsClient(of *node.Node) *clientv3.Client {
	c.t.Helper()
	return c.closing(c.Etcd("events").Dial(of))
}

// asAPIServer speaks to the etcd of some nodes as the API server of a master does.
func (c *Cluster) asAPIServer(master *node.Node, of []*node.Node) *clientv3.Client {
	c.t.Helper()
	return c.clientAs(master, keyspace.APIServer, of, nil)
}

// clientAs speaks to the etcd of some nodes with the certificate of another. now, unless nil, is the clock that certificates are
// judged by.
func (c *Cluster) clientAs(who *node.Node, name string, of []*node.Node, now func() time.Time) *clientv3.Client {
	c.t.Helper()
	secure, err := keyspace.Identity(who, name)
	if err != nil {
		c.t.Fatal(err)
	}
	secure.Time = now
	return c.closing(c.Etcd("main").DialAs(secure, of...))
}

// closing keeps a client until the whole test ends.
func (c *Cluster) closing(client *clientv3.Client, err error) *clientv3.Client {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	c.whole.Cleanup(func() { _ = client.Close() })
	return client
}

// PutObject writes an object of the store as its administrator.
func (c *Cluster) PutObject(ctx context.Context, path string, data []byte) {
	c.t.Helper()
	_, err := c.S3.Client().PutObject(ctx, &awss3.PutObjectInput{
		Bucket: aws.String(bucket), Key: aws.String(prefix + "/" + path), Body: bytes.NewReader(data),
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// Lineage is the record of main in the store.
func (c *Cluster) Lineage() *etcd.Lineage { return c.LineageOf("main") }

// LineageOf is that of another etcd cluster.
func (c *Cluster) LineageOf(name string) *etcd.Lineage {
	c.t.Helper()
	record, err := c.Etcd(name).Lineage(context.WithoutCancel(c.t.Context()))
	if err != nil {
		c.t.Fatal(err)
	}
	return record
}

// tellLogs shows what the agents decided about etcd.
func (c *Cluster) tellLogs() {
	logs, _ := filepath.Glob(filepath.Join(c.dir, "lab", "nodes", "*", "agent.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		c.t.Log(path)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, " changed ") {
				continue // files and units
			}
			if strings.Contains(line, "etcd") || strings.Contains(line, "lineage") || strings.Contains(line, "FAILED") {
				c.t.Log(strings.TrimSpace(line[:min(len(line), 1000)]))
			}
		}
	}
}
