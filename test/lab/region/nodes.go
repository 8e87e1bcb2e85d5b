package region

import (
	"context"
	"errors"
	"fmt"

	"rekindle/test/cloud"
	"rekindle/test/lab/node"
	"rekindle/test/vpc"
)

// Nodes are the instances that run, in the order of their launch.
func (r *Region) Nodes() []*node.Node {
	var nodes []*node.Node
	for _, n := range r.all(false) {
		nodes = append(nodes, n.Node)
	}
	return nodes
}

// all are the instances that are there, stopped ones if wanted.
func (r *Region) all(halted bool) []*instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*instance
	for _, id := range r.order {
		if n := r.nodes[id]; n != nil && (halted || !n.halted) {
			all = append(all, n)
		}
	}
	return all
}

// Node is one instance, or nil when it has ended. One that was stopped has a disk, but runs nothing.
func (r *Region) Node(id string) *node.Node {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[id]; n != nil {
		return n.Node
	}
	return nil
}

// VPC is the network of an Options.VPC.
func (r *Region) VPC() *vpc.VPC { return r.net.vpc }

// Host is the network of an instance in an Options.VPC, or nil when it has ended.
func (r *Region) Host(id string) *vpc.Host {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[id]; n != nil {
		return n.net
	}
	return nil
}

// Members are the nodes of an Auto Scaling group that run.
func (r *Region) Members(group string) []*node.Node {
	var nodes []*node.Node
	for _, n := range r.Nodes() {
		if i := r.Cloud.Instance(n.ID); i != nil && i.Group == group {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Err is what went wrong while instances were made or ended.
func (r *Region) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.errs...)
}

// AwaitMembers waits until a group has n nodes that run, not counting those in except: of a group that replaces an
// instance, the new one.
func (r *Region) AwaitMembers(ctx context.Context, group string, n int, except ...string) ([]*node.Node, error) {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		var found []*node.Node
		for _, m := range r.Members(group) {
			skip := false
			for _, id := range except {
				skip = skip || id == m.ID
			}
			if !skip {
				found = append(found, m)
			}
		}
		if err := r.Err(); err != nil || len(found) >= n {
			return found, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return found, fmt.Errorf("group %s: %d of %d instances: %w", group, len(found), n, ctx.Err())
		}
	}
}

// Group makes an Auto Scaling group, named after the role, whose instances have a role, given by tag, and an instance
// profile. They are spread over the zones.
func (r *Region) Group(role, profile string, desired int, userData []byte) error {
	return r.Cloud.CreateGroup(r.groupSpec(role, role, profile, desired, userData))
}

// ZonalGroups makes one group of one instance in each zone, and returns their names, ROLE-ZONE.
func (r *Region) ZonalGroups(role, profile string, userData []byte) (names []string, err error) {
	for _, subnet := range r.Cloud.Subnets() {
		spec := r.groupSpec(role+"-"+subnet.Zone, role, profile, 1, userData)
		spec.Subnets = []string{subnet.ID}
		if err := r.Cloud.CreateGroup(spec); err != nil {
			return names, err
		}
		names = append(names, spec.Name)
	}
	return names, nil
}

func (r *Region) groupSpec(name, role, profile string, desired int, userData []byte) cloud.GroupSpec {
	return cloud.GroupSpec{
		Name:    name,
		Desired: desired,
		Tags:    map[string]string{"rekindle:role": role, "rekindle:cluster": r.options.Cluster},
		Template: cloud.InstanceSpec{
			Type: "m5.large", Role: profile, UserData: userData, Metadata: cloud.MetadataOptions{Tags: true},
		},
	}
}

// Requests says how many requests an instance has sent to each service, S3 included.
func (r *Region) Requests(id string) map[string]int {
	counts := r.Cloud.ServiceCounts(id)
	for _, q := range r.S3.Requests() {
		if r.keys.instance(q.AccessKeyID) == id {
			counts["s3"]++
		}
	}
	return counts
}
