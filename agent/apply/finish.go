package apply

import (
	"context"
	"maps"
	"path"
	"slices"
)

// finish makes the placed assets durable, takes their stamps and closes the record. It comes after the units, since
// nothing that runs has to wait for the disk.
func (a *pass) finish(ctx context.Context) error {
	if a.dry {
		return nil
	}
	maps.Copy(a.rec.Assets, a.unpacking)
	var unsynced []string
	stamps := map[string]*Stamp{}
	for _, p := range slices.Sorted(maps.Keys(a.rec.Assets)) {
		asset := a.rec.Assets[p]
		if !asset.Archive && asset.Stamp == (Stamp{}) {
			unsynced = append(unsynced, p)
		}
		for name, entry := range asset.Entries {
			if entry.Kind == KindFile && entry.Stamp == (Stamp{}) {
				unsynced = append(unsynced, path.Join(p, name))
			}
		}
	}
	if len(unsynced) > 0 {
		if err := a.Host.Sync(ctx, unsynced...); err != nil {
			return err
		}
	}
	for _, p := range unsynced {
		entry, err := a.Host.Look(p)
		if err != nil {
			return err
		}
		stamps[p] = &entry.Stamp
	}
	for p, asset := range a.rec.Assets {
		if stamp := stamps[p]; stamp != nil {
			asset.Stamp = *stamp
		}
		asset.Entries = maps.Clone(asset.Entries)
		for name, entry := range asset.Entries {
			if stamp := stamps[path.Join(p, name)]; stamp != nil {
				entry.Stamp = *stamp
				asset.Entries[name] = entry
			}
		}
		a.rec.Assets[p] = asset
	}
	a.rec.Cut = false
	return a.save(ctx)
}
