package bake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"rekindle/agent/apply"
	"rekindle/agent/assets"
	"rekindle/agent/plan"
)

// place brings what the roles need into the cache, and puts it where it belongs: a plan of nothing but assets, applied.
func (b *baker) place(ctx context.Context) (err error) {
	if b.assets, err = union(b.Plans); err != nil {
		return err
	}
	if b.Objects == nil {
		return nil
	}
	engine := &apply.Engine{Host: b.host, Units: nothingRuns{}, Assets: fetched{b.Objects}, Unpack: unpack} // its changes are printed
	want := &plan.Plan{Assets: b.assets}
	if b.Dry {
		report, err := engine.Preview(ctx, want)
		b.done.Changes = append(b.done.Changes, report.Changes...)
		return err
	}
	if err := b.fetch(ctx); err != nil {
		return err
	}
	report, err := engine.Apply(ctx, want)
	b.done.Changes = append(b.done.Changes, report.Changes...)
	b.done.Warnings = append(b.done.Warnings, report.Warnings...)
	return err
}

// unpack extracts an archive of the cache, under the default limits.
func unpack(ctx context.Context, archive, dir string) error {
	return assets.Unpack(ctx, archive, dir, assets.Limits{})
}

// fetch fills the cache: assets, and what a boot reads before it has a plan. All of it is on disk when it returns.
func (b *baker) fetch(ctx context.Context) error {
	wanted, err := b.objects()
	if err != nil {
		return err
	}
	if err := b.Objects.Fetch(ctx, wanted...); err != nil {
		return err
	}
	if err := b.Objects.Settle(ctx); err != nil {
		return err
	}
	_, err = b.Objects.Prune(ctx) // what an earlier publication had
	return err
}

// objects are what the image holds of the store, by path.
func (b *baker) objects() ([]assets.Object, error) {
	manifest := b.Objects.Manifest()
	wanted := slices.Clone(manifest.Under("roles"))
	if shared, ok := manifest.Lookup("cluster.yaml"); ok {
		wanted = append(wanted, shared)
	}
	for _, asset := range b.assets {
		object, ok := manifest.Lookup(asset.Object)
		if !ok {
			return nil, fmt.Errorf("asset %s: not in the manifest (add it to the directory that you publish, and run rekindle publish)", asset.Object)
		}
		wanted = append(wanted, object)
	}
	slices.SortFunc(wanted, func(a, b assets.Object) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(wanted, func(a, b assets.Object) bool { return a.Path == b.Path }), nil
}

// union is the assets of all plans. What a role brings and another does not, the boot of that other one removes.
func union(plans []*plan.Plan) ([]plan.Asset, error) {
	seen := map[string]plan.Asset{}
	var all []plan.Asset
	var errs []error
	for _, p := range plans {
		for _, asset := range p.Assets {
			other, ok := seen[asset.Path]
			switch {
			case !ok:
				seen[asset.Path] = asset
				all = append(all, asset)
			case other != asset:
				errs = append(errs, fmt.Errorf("the roles disagree on %s: %s or %s (bake an image for each)", asset.Path, other.Object, asset.Object))
			}
		}
	}
	slices.SortFunc(all, func(a, b plan.Asset) int { return strings.Compare(a.Path, b.Path) })
	return all, errors.Join(errs...)
}

// fetched is a store whose objects are in the cache already.
type fetched struct{ store *assets.Store }

// Fetch implements apply.Assets.
func (f fetched) Fetch(context.Context, []plan.Asset) error { return nil }

// File implements apply.Assets.
func (f fetched) File(asset plan.Asset) (path, sha256 string, err error) {
	object, ok := f.store.Manifest().Lookup(asset.Object)
	if !ok {
		return "", "", fmt.Errorf("asset %s: not in the manifest", asset.Object)
	}
	return f.store.File(object), object.SHA256, nil
}

// nothingRuns implements apply.Units for an image: its units start with its instances.
type nothingRuns struct{}

var errNothingRuns = errors.New("an image runs no units")

func (nothingRuns) Reload(context.Context) error { return nil }
func (nothingRuns) State(context.Context, string) (apply.UnitState, error) {
	return apply.UnitState{Load: "not-found"}, nil
}
func (nothingRuns) Do(context.Context, string, string) error { return errNothingRuns }
func (nothingRuns) Enable(context.Context, string, bool) (bool, error) {
	return false, errNothingRuns
}
