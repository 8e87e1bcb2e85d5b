package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"rekindle/agent/config"
	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
	"rekindle/test/lab/verify"
)

// defaultStore is the demo's.
const defaultStore = "s3://rekindle-lab/demo"

// demoUserData is all that an instance of the demo is told; the rest is in the store.
const demoUserData = "store: " + defaultStore + "\n"

// cluster is what is booted.
type cluster struct {
	flags
	set      binaries.Set
	userData []byte
	store    string
	named    bool   // the user-data names the store itself
	assets   string // the directory that is published

	// What the user's configuration says of the cluster; the lab's own where it does not.
	name, profile string
	joins         bool // it says which IAM roles may join
}

// group is an Auto Scaling group.
type group struct {
	role, profile string
	desired       int
}

func (c *cluster) groups() []group {
	return []group{
		{"master", region.MasterProfile, c.masters},
		{"minion", c.profile, c.minions},
		{"loadbalancer", c.profile, c.loadbalancers},
	}
}

func (c *cluster) size() int { return c.masters + c.minions + c.loadbalancers }

// readCluster reads what the user brings, and makes what they do not.
func readCluster(ctx context.Context, f flags, set binaries.Set) (*cluster, error) {
	c := &cluster{flags: f, set: set, userData: []byte(demoUserData), store: defaultStore, named: true, assets: f.assets,
		name: "demo", profile: region.NodeProfile}
	if f.config != "" {
		data, err := os.ReadFile(f.config)
		if err != nil {
			return nil, err
		}
		c.userData, c.named = data, false
		layers, _, problems := config.UserData(data)
		if err := problems.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", f.config, err)
		}
		if asked := config.Resolve(layers...).Config; asked != nil && asked.Store != "" {
			c.store, c.named = asked.Store, true
		}
		c.describe(layers...)
	}
	if c.assets != "" {
		return c, c.describeStore()
	}
	c.assets = filepath.Join(f.dir, "assets")
	var roles []string
	for _, g := range c.groups() {
		if g.desired > 0 {
			roles = append(roles, g.role)
		}
	}
	return c, demo.Assets(ctx, c.assets, f.dir, set, roles, f.config)
}

// describe takes the cluster's name, and the IAM role of its nodes, out of a configuration.
func (c *cluster) describe(layers ...config.Layer) {
	asked := config.Resolve(layers...).Config
	if asked == nil {
		return
	}
	if asked.Cluster != "" {
		c.name = asked.Cluster
	}
	if len(asked.Join.IAMRoles) > 0 {
		role := asked.Join.IAMRoles[0]
		c.profile, c.joins = role[strings.LastIndexByte(role, '/')+1:], true
	}
}

// describeStore does so with the cluster.yaml that is published.
func (c *cluster) describeStore() error {
	path := filepath.Join(c.assets, "cluster.yaml")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		c.describe(config.Layer{Name: path, Data: data})
	}
	return err
}

// imageConfig is what the AMI knows besides where the region is.
func (c *cluster) imageConfig() map[string]any {
	known := map[string]any{}
	if !c.named {
		known["store"] = c.store
	}
	if !c.joins {
		known["join"] = map[string]any{"iamRoles": []string{c.profile}}
	}
	return known
}

// publish makes the store and fills it.
func (c *cluster) publish(ctx context.Context, out *screen, r *region.Region) error {
	done := out.step("publish")
	if err := r.CreateStore(ctx, c.store); err != nil {
		return err
	}
	var said bytes.Buffer
	if err := r.Publish(ctx, c.assets, c.store, &said); err != nil {
		return fmt.Errorf("%w\n%s", err, &said)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	done(lines[len(lines)-1])
	return nil
}

// launch makes the groups, which launch their instances.
func (c *cluster) launch(r *region.Region) error {
	for _, g := range c.groups() {
		if g.desired == 0 {
			continue
		}
		if err := r.Group(g.role, g.profile, g.desired, c.userData); err != nil {
			return fmt.Errorf("group %s: %w", g.role, err)
		}
	}
	return nil
}

// play plays the scenes that were asked for, and returns what it drew.
func (c *cluster) play(ctx context.Context, out *screen, r *region.Region, suite *verify.Suite) (timelines []string, err error) {
	chosen, err := choose(c.scenes, c.masters)
	if err != nil {
		return nil, err
	}
	s := &stage{screen: out, region: r, suite: suite, dir: c.dir, etcd: &keyspace.Cluster{Region: r, Store: c.store, Name: "main"}}
	err = play(ctx, s, chosen)
	return s.timelines, err
}

func drawOne(ctx context.Context, binary string, n *node.Node, path string) error {
	said, err := exec.CommandContext(ctx, binary, "timeline", "--root", n.Root, "--svg", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("rekindle timeline of %s: %w\n%s", n.ID, err, said)
	}
	return nil
}
