package bake

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"rekindle/agent"
	"rekindle/agent/assets"
	"rekindle/agent/config"
	"rekindle/agent/host"
	"rekindle/agent/plan"
)

func cachedPath(o Object) string { return path.Join(agent.CacheDir, "objects", o.SHA256) }

// Layers is the image's own configuration, /etc/rekindle/*.yaml below root, in the order of the files' names.
func Layers(root string) ([]config.Layer, error) {
	dir, err := host.New(root).Path(agent.ConfigDir)
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	var layers []config.Layer
	for _, name := range names {
		data, readErr := os.ReadFile(name)
		err = errors.Join(err, readErr)
		layers = append(layers, config.Layer{Name: path.Join(agent.ConfigDir, filepath.Base(name)), Data: data})
	}
	return layers, err
}

// Plans is what a node of each role would need of the store, by the store's cluster.yaml over image, and own over both.
// What only an instance knows, as its address, has an example's value: no asset depends on it.
func Plans(ctx context.Context, store *assets.Store, names []string, image, own []config.Layer) ([]*plan.Plan, error) {
	layers := append([]config.Layer{{Name: "bake", Data: []byte("cluster: image\n")}}, image...)
	data, err := store.Read(ctx, "cluster.yaml")
	switch {
	case err == nil:
		layers = append(layers, config.Layer{Name: store.State().Source + "/cluster.yaml", Data: data})
	case !errors.Is(err, assets.ErrNotFound):
		return nil, err
	}
	if err := store.Prefetch(ctx, "roles"); err != nil {
		return nil, err
	}
	in := agent.Offline{Layers: append(layers, own...), Facts: agent.Example(), Overlay: store.FS("roles"), Manifest: store.Manifest()}
	in.Facts.Machine.Arch = runtime.GOARCH
	var plans []*plan.Plan
	for _, name := range names {
		in.Role = name
		p, err := in.Plan()
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	return plans, nil
}
