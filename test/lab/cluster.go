package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"rekindle/agent/config"
	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
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
}

// group is an Auto Scaling group.
type group struct {
	role, profile string
	desired       int
}

func (c *cluster) groups() []group {
	return []group{
		{"master", region.MasterProfile, c.masters},
		{"minion", region.NodeProfile, c.minions},
		{"loadbalancer", region.NodeProfile, c.loadbalancers},
	}
}

func (c *cluster) size() int { return c.masters + c.minions + c.loadbalancers }

// readCluster reads what the user brings, and makes what they do not.
func readCluster(ctx context.Context, f flags, set binaries.Set) (*cluster, error) {
	c := &cluster{flags: f, set: set, userData: []byte(demoUserData), store: defaultStore, named: true, assets: f.assets}
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
	}
	if c.assets != "" {
		return c, nil
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

// imageConfig is what the AMI knows besides where the region is.
func (c *cluster) imageConfig() map[string]any {
	if c.named {
		return nil
	}
	return map[string]any{"store": c.store}
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

func drawOne(ctx context.Context, binary string, n *node.Node, path string) error {
	said, err := exec.CommandContext(ctx, binary, "timeline", "--root", n.Root, "--svg", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("rekindle timeline of %s: %w\n%s", n.ID, err, said)
	}
	return nil
}
