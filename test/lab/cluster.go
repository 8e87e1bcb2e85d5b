package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"rekindle/agent"
	"rekindle/agent/config"
	"rekindle/agent/plan"
	"rekindle/test/lab/assets"
	"rekindle/test/lab/binaries"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// defaultStore is the demo's.
const defaultStore = "s3://rekindle-lab/demo"

// demoUserData is all that an instance of the demo is told; the rest is in the store.
const demoUserData = "store: " + defaultStore + "\n"

// demoCluster is the store's cluster.yaml.
const demoCluster = `cluster: demo
environment: laboratory
kubernetes:
  version: %s
etcd:
  version: %s
`

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
	if err := os.MkdirAll(c.assets, 0o755); err != nil {
		return nil, err
	}
	if f.config == "" {
		text := fmt.Sprintf(demoCluster, binaries.Default.Kubernetes, binaries.Default.Etcd)
		if err := os.WriteFile(filepath.Join(c.assets, "cluster.yaml"), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	objects, err := c.objects(ctx)
	if err != nil {
		return nil, err
	}
	return c, assets.Make(c.assets, objects, set)
}

// imageConfig is what the AMI knows besides where the region is.
func (c *cluster) imageConfig() map[string]any {
	if c.named {
		return nil
	}
	return map[string]any{"store": c.store}
}

// objects asks the agent's binary what the roles need, by making their plans as on a laptop.
func (c *cluster) objects(ctx context.Context) ([]string, error) {
	example := agent.Example()
	example.Machine.Arch = runtime.GOARCH
	facts, err := json.Marshal(example)
	if err != nil {
		return nil, err
	}
	factsFile, configFile := filepath.Join(c.dir, "facts.json"), filepath.Join(c.dir, "user-data")
	if err := os.WriteFile(factsFile, facts, 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(configFile, c.userData, 0o644); err != nil {
		return nil, err
	}
	args := []string{"plan", "--facts", factsFile}
	for _, file := range []string{filepath.Join(c.assets, "cluster.yaml"), configFile, c.unitsFile()} {
		if _, err := os.Stat(file); err == nil {
			args = append(args, "--config", file)
		}
	}
	objects := slices.Clone(optional)
	for _, g := range c.groups() {
		if g.desired == 0 {
			continue
		}
		var stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, c.set.Rekindle, append(args, "--role", g.role)...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("rekindle plan, role %s: %w\n%s", g.role, err, &stderr)
		}
		p, err := plan.Read(bytes.NewReader(out))
		if err != nil {
			return nil, fmt.Errorf("rekindle plan, role %s: %w", g.role, err)
		}
		for _, a := range p.Assets {
			objects = append(objects, a.Object)
		}
	}
	return objects, nil
}

// optional are what roles use when it is published, and do without when it is not.
var optional = []string{
	"cri-tools/linux/" + runtime.GOARCH + "/crictl.tar.gz",
	"ecr-credential-provider/linux/" + runtime.GOARCH + "/ecr-credential-provider",
	"images/linux/" + runtime.GOARCH + "/pause.tar",
}

// unitsFile holds what the image's layer will say of etcd, for the plan on the laptop.
func (c *cluster) unitsFile() string {
	path := filepath.Join(c.dir, "lab.yaml")
	if err := os.WriteFile(path, []byte("etcd:\n  runAs: unit\n  plaintext: true\n"), 0o644); err != nil {
		return ""
	}
	return path
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
