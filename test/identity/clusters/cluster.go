package clusters

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"rekindle/agent/pki"
	"rekindle/agent/status"
	"rekindle/test/cloud"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// prefix is where in its bucket a cluster's store is.
const prefix = "cluster"

// Cluster is a store, a name, and the instances that are tagged with it.
type Cluster struct {
	*Region
	Name   string
	Bucket string
	Store  string // s3://bucket/prefix
}

// Spec is an instance of the cluster: the image, the tags and the profile that belong to a role.
func (c *Cluster) Spec(role string) cloud.InstanceSpec {
	profile := region.NodeProfile
	if role == "master" {
		profile = region.MasterProfile
	}
	return cloud.InstanceSpec{
		Role:     profile,
		UserData: fmt.Appendf(nil, "store: %s\nmirrors: [%s]\ncluster: %s\n", c.Store, c.mirror, c.Name),
		Tags:     map[string]string{"rekindle:role": role, "rekindle:cluster": c.Name},
		Metadata: cloud.MetadataOptions{Tags: true},
	}
}

// Launch launches an instance. Its agent runs when this returns.
func (c *Cluster) Launch(t testing.TB, spec cloud.InstanceSpec) *node.Node {
	t.Helper()
	c.launch.Lock()
	defer c.launch.Unlock()
	i, err := c.Cloud.Launch(spec)
	if err != nil {
		t.Fatal(err)
	}
	c.Cloud.Settle()
	n := c.Node(i.ID)
	if n == nil {
		t.Fatalf("instance %s is no node: %v", i.ID, c.Err())
	}
	t.Cleanup(func() {
		if t.Failed() {
			tell(t, n)
		}
	})
	return n
}

// tell shows the last of what an agent said.
func tell(t testing.TB, n *node.Node) {
	log, err := os.ReadFile(n.Log)
	if err != nil {
		t.Log(err)
		return
	}
	if most := 6 << 10; len(log) > most {
		log = log[len(log)-most:]
	}
	t.Logf("the agent on %s at the end:\n%s", n.ID, log)
}

// Boot launches an instance of a role and waits until it is ready.
func (c *Cluster) Boot(ctx context.Context, t testing.TB, role string) *node.Node {
	t.Helper()
	n := c.Launch(t, c.Spec(role))
	Ready(ctx, t, n)
	return n
}

// Terminate ends an instance.
func (c *Cluster) Terminate(n *node.Node) {
	c.launch.Lock()
	defer c.launch.Unlock()
	c.Cloud.Terminate(n.ID)
	c.Cloud.Settle()
}

// Ready waits until the agent that runs now is ready.
func Ready(ctx context.Context, t testing.TB, n *node.Node) *status.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	s, err := n.Ready(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Resync asks agents to apply their plans again, and waits until they have.
func Resync(ctx context.Context, t testing.TB, nodes ...*node.Node) {
	t.Helper()
	Ask(ctx, t, nodes...)()
}

// Ask asks agents that are ready to apply their plans again. What it returns waits until they have.
func Ask(ctx context.Context, t testing.TB, nodes ...*node.Node) (await func()) {
	t.Helper()
	before := map[*node.Node]time.Time{}
	for _, n := range nodes {
		before[n] = Ready(ctx, t, n).Apply.At
		if err := syscall.Kill(n.PID(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		for _, n := range nodes {
			Await(ctx, t, n.ID+" resyncs", func() error {
				s, err := n.Status()
				if err == nil && !s.Apply.At.After(before[n]) {
					err = fmt.Errorf("the last apply was at %s: waits for %v", s.Apply.At, s.Waits)
				}
				return err
			})
		}
	}
}

// PKI runs `rekindle pki VERB` as an operator with administrator's keys would, and returns what it prints.
func (c *Cluster) PKI(ctx context.Context, t testing.TB, args ...string) string {
	t.Helper()
	admin := c.Cloud.AdminCredentials()
	args = append(append([]string{"pki"}, args...), "--cluster", c.Name, "--region", regionName, "--endpoint", c.S3.URL(), "--path-style")
	cmd := exec.CommandContext(ctx, c.Programs.Rekindle, args...)
	cmd.Env = []string{
		"AWS_ACCESS_KEY_ID=" + admin.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + admin.SecretAccessKey,
		"AWS_EC2_METADATA_DISABLED=true",
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rekindle %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// Path is that of a record of the cluster, as faults of the S3 server have it.
func (c *Cluster) Path(key string) string { return "/" + c.Bucket + "/" + prefix + "/" + key }

// Object is a record of the cluster.
func (c *Cluster) Object(ctx context.Context, t testing.TB, key string) []byte {
	t.Helper()
	data, err := c.ReadStore(ctx, c.Store, key)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Authority is what the store says of an authority, with its key.
func (c *Cluster) Authority(ctx context.Context, t testing.TB, name string) *pki.Authority {
	t.Helper()
	var record pki.Record
	if err := json.Unmarshal(c.Object(ctx, t, pki.PrivateKey(name)), &record); err != nil {
		t.Fatal(err)
	}
	a, err := record.Authority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}
