package agent

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"rekindle/agent/apply"
	"rekindle/agent/assets"
	"rekindle/agent/host"
	"rekindle/agent/plan"
)

// objects is the store as apply wants it: by the plan's assets.
type objects struct {
	store *assets.Store
	mu    sync.Mutex
	found map[string]assets.Object // by the path in the manifest
}

// Fetch implements apply.Assets.
func (o *objects) Fetch(ctx context.Context, wanted []plan.Asset) error {
	list := make([]assets.Object, 0, len(wanted))
	for _, asset := range wanted {
		object, err := o.store.Lookup(ctx, asset.Object)
		if err != nil {
			return err
		}
		o.keep(object)
		list = append(list, object)
	}
	return o.store.Fetch(ctx, list...)
}

func (o *objects) keep(object assets.Object) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.found == nil {
		o.found = map[string]assets.Object{}
	}
	o.found[object.Path] = object
}

// File implements apply.Assets.
func (o *objects) File(asset plan.Asset) (path, sha256 string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	object, ok := o.found[asset.Object]
	if !ok {
		return "", "", fmt.Errorf("asset %s: asked for before it was fetched", asset.Object)
	}
	return o.store.File(object), object.SHA256, nil
}

// unpack extracts an archive of the cache, under the default limits.
func unpack(ctx context.Context, archive, dir string) error {
	return assets.Unpack(ctx, archive, dir, assets.Limits{})
}

// writeDurably makes a file and the directories above it.
func writeDurably(ctx context.Context, machine *host.Host, name string, data []byte, mode fs.FileMode) error {
	if err := machine.MkdirAll(path.Dir(name)); err != nil {
		return err
	}
	_, err := machine.Write(ctx, apply.File{Path: name, Mode: plan.Mode(mode), Content: data})
	return err
}

// HandOver keeps a configuration for the agent of the node below root: what `rekindle up` does.
func HandOver(ctx context.Context, root string, data []byte) error {
	return writeDurably(ctx, host.New(root), UpPath, data, 0o600)
}
