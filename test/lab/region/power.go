package region

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"rekindle/test/cloud"
	"rekindle/test/lab/image"
)

// Terminate is TerminateAll of one instance.
func (r *Region) Terminate(id string, keep ...string) ([]*Volume, error) {
	return r.TerminateAll([]string{id}, keep...)
}

// TerminateAll cuts the power of instances, all at once, and ends them with their disks; what their units logged stays
// beside the agent's log. The volumes of the etcd clusters in keep ("main", "events") stay and are returned, in the order of
// the instances. When it returns, EC2 says that the instances are ended, and their groups have launched others unless that
// is suspended.
func (r *Region) TerminateAll(ids []string, keep ...string) ([]*Volume, error) {
	var ended []*instance
	r.mu.Lock()
	for _, id := range ids {
		if n := r.nodes[id]; n != nil {
			n.keep, n.diskless = slices.Clone(keep), true
			ended = append(ended, n)
		}
	}
	r.mu.Unlock()
	if len(ended) != len(ids) {
		return nil, fmt.Errorf("region: of the instances %q only %d are there", ids, len(ended))
	}
	var cuts errgroup.Group
	for _, n := range ended {
		cuts.Go(n.Destroy)
	}
	if err := cuts.Wait(); err != nil {
		return nil, err
	}
	for _, id := range ids {
		r.Cloud.Terminate(id)
	}
	r.Cloud.Settle()
	var volumes []*Volume
	r.mu.Lock()
	for _, n := range ended {
		volumes = append(volumes, n.kept...)
	}
	r.mu.Unlock()
	return volumes, r.Err()
}

// terminated ends a node as EC2 ends an instance: the power goes. It runs on the cloud's goroutine, as do the next two.
func (r *Region) terminated(i *cloud.Instance) {
	r.mu.Lock()
	n := r.nodes[i.ID]
	r.mu.Unlock()
	if n == nil {
		return
	}
	err := errors.Join(n.Destroy(), n.close())
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && n.diskless {
		err = r.dispose(n)
	}
	r.note(i, err)
	delete(r.nodes, i.ID)
	r.tell()
}

// stopped takes a node's power and leaves its disk.
func (r *Region) stopped(i *cloud.Instance) {
	r.mu.Lock()
	n := r.nodes[i.ID]
	r.mu.Unlock()
	if n == nil {
		return
	}
	err := n.Destroy()
	r.mu.Lock()
	defer r.mu.Unlock()
	n.halted = true
	r.note(i, err)
	r.tell()
}

// started boots a node that was stopped.
func (r *Region) started(i *cloud.Instance) {
	r.mu.Lock()
	n := r.nodes[i.ID]
	r.mu.Unlock()
	if n == nil {
		return
	}
	err := image.Boot(n.Root)
	if err == nil {
		err = n.Start()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n.halted = false
	r.note(i, err)
	r.tell()
}

// note keeps what went wrong with an instance. The caller holds mu.
func (r *Region) note(i *cloud.Instance, err error) {
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("instance %s: %w", i.ID, err))
	}
}

// dispose takes the volumes that stay from a node that has ended, saves its logs and destroys its disk. The caller holds mu.
func (r *Region) dispose(n *instance) error {
	for _, name := range n.keep {
		v, err := r.detach(n, name)
		if err != nil {
			return err
		}
		n.kept = append(n.kept, v)
	}
	logs := n.Path("/var/log")
	if err := os.Rename(logs, filepath.Join(filepath.Dir(n.Root), "log")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(n.Root)
}
