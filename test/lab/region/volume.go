package region

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"rekindle/test/cloud"
)

// Volume is the EBS volume of an etcd cluster's member: on a node it is /var/lib/etcd/<Cluster>. It outlives its instance.
type Volume struct {
	Cluster string // main or events
	Zone    string // the only one in which it can be attached

	dir      string // where it lies while nobody has it
	attached string // the instance that has it; empty: nobody
}

// awaited is a volume for the next instance of a group.
type awaited struct {
	*Volume
	group string
}

func volumePath(cluster string) string { return filepath.Join("/var/lib/etcd", cluster) }

// DetachVolume takes the volume of an etcd cluster from an instance that was stopped.
func (r *Region) DetachVolume(id, cluster string) (*Volume, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	if n == nil || !n.halted {
		return nil, fmt.Errorf("region: instance %s: it is not stopped, so its volume %s is in use", id, cluster)
	}
	return r.detach(n, cluster)
}

// detach moves a member's directory out of a node. The caller holds mu.
func (r *Region) detach(n *instance, cluster string) (*Volume, error) {
	dir, err := r.aside("volumes", cluster)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(n.Path(volumePath(cluster)), dir); err != nil {
		return nil, fmt.Errorf("volume %s: %w", cluster, err)
	}
	return &Volume{Cluster: cluster, Zone: n.zone, dir: dir}, nil
}

// aside is a path that nobody has.
func (r *Region) aside(in, name string) (string, error) {
	r.moved++
	dir := filepath.Join(r.options.Dir, in)
	return filepath.Join(dir, fmt.Sprintf("%s-%d", name, r.moved)), os.MkdirAll(dir, 0o755)
}

// AttachVolume puts a volume into an instance that runs or is stopped. As when a file system is mounted, what was at the
// place is out of sight; a process that has it open goes on with it.
func (r *Region) AttachVolume(v *Volume, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	if n == nil {
		return fmt.Errorf("region: instance %s: it is not there", id)
	}
	return r.attach(v, n.zone, n.ID, n.Root)
}

// AttachNext has the next instance that a group launches in the volume's zone find the volume, before its agent starts.
func (r *Region) AttachNext(v *Volume, group string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.attached != "" {
		return fmt.Errorf("region: volume %s is attached to %s", v.Cluster, v.attached)
	}
	r.awaited = append(r.awaited, awaited{v, group})
	return nil
}

// attachAwaited attaches what waits for an instance.
func (r *Region) attachAwaited(i *cloud.Instance, root string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var left []awaited
	var errs []error
	taken := map[string]bool{}
	for _, w := range r.awaited {
		if w.group != i.Group || w.Zone != i.Zone || taken[w.Cluster] {
			left = append(left, w)
			continue
		}
		taken[w.Cluster] = true
		errs = append(errs, r.attach(w.Volume, i.Zone, i.ID, root))
	}
	r.awaited = left
	return errors.Join(errs...)
}

// attach moves a volume's directory into a root. The caller holds mu.
func (r *Region) attach(v *Volume, zone, id, root string) error {
	switch {
	case v.attached != "":
		return fmt.Errorf("region: volume %s is attached to %s", v.Cluster, v.attached)
	case v.Zone != zone:
		return fmt.Errorf("region: volume %s is in %s, instance %s in %s", v.Cluster, v.Zone, id, zone)
	}
	place := filepath.Join(root, volumePath(v.Cluster))
	below, err := r.aside("below", id+"-"+v.Cluster)
	if err != nil {
		return err
	}
	if err := os.Rename(place, below); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		return err
	}
	if err := os.Rename(v.dir, place); err != nil {
		return err
	}
	v.attached = id
	return nil
}
