package apply

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// placement is an asset that is not in place, or of which that cannot be told without its digest.
type placement struct {
	plan.Asset

	sum    string // what is to be in place; empty until it is known
	source string // in the cache
	exists bool
	drift  bool
	chmod  bool // the content is right
}

// sumsAtOnce bounds the files that are hashed side by side.
const sumsAtOnce = 4

// lookAssets finds the assets that have to be placed. What the record vouches for is not read; what it does not know
// is hashed, so that files of the image are not replaced by equal ones.
func (a *pass) lookAssets(ctx context.Context) error {
	states := make([]*placement, len(a.plan.Assets))
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sumsAtOnce)
	for i, asset := range a.plan.Assets {
		if asset.Mode == 0 {
			asset.Mode = 0o755
		}
		state := &placement{Asset: asset, sum: asset.SHA256}
		if state.sum == "" && a.dry {
			state.sum = a.old.Assets[asset.Path].SHA256 // what the store has now is not known
		}
		if state.sum == "" {
			states[i] = state
			continue
		}
		group.Go(func() error {
			there, err := a.inPlace(ctx, state, &mu)
			if err != nil || there {
				return err
			}
			states[i] = state
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, asset := range a.plan.Assets {
		if asset.SHA256 != "" {
			a.sums[asset.Path] = asset.SHA256
		} else if s := a.rec.Assets[asset.Path].SHA256; s != "" {
			a.sums[asset.Path] = s
		}
		if s := states[i]; s != nil {
			a.placing = append(a.placing, s)
			if !s.chmod {
				a.fetching = append(a.fetching, s)
			}
		}
	}
	return nil
}

// inPlace tells whether an asset is where and what it should be. mu guards the record.
func (a *pass) inPlace(ctx context.Context, p *placement, mu *sync.Mutex) (bool, error) {
	mu.Lock()
	owned, known := a.rec.Assets[p.Path]
	mu.Unlock()
	p.drift = known && owned.SHA256 == p.sum && !a.old.Cut
	if p.Unpack {
		if !known || owned.SHA256 != p.sum {
			return false, nil
		}
		return a.unpacked(p.Path, owned)
	}
	entry, err := a.Host.Look(p.Path)
	if err != nil {
		return false, err
	}
	p.exists = entry.Kind != KindNone
	if entry.Kind != KindFile {
		return false, nil
	}
	if !known || owned.SHA256 != p.sum || owned.Stamp != entry.Stamp {
		sum, err := a.Host.Sum(ctx, p.Path)
		if err != nil {
			return false, err
		}
		if sum != p.sum {
			return false, nil
		}
	}
	mu.Lock()
	defer mu.Unlock()
	stamp := entry.Stamp
	if owned.Stamp != stamp {
		stamp = Stamp{} // the next finish takes it, once the file is durable
	}
	a.rec.Assets[p.Path] = ownedAsset{SHA256: p.sum, Mode: p.Mode, Stamp: stamp}
	p.chmod = entry.Mode != p.Mode
	return !p.chmod, nil
}

// fetch brings what is missing to the cache, while certificates are issued and etcd is decided. Then every content is
// known.
func (a *pass) fetch(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	if len(a.fetching) > 0 && !a.dry {
		group.Go(func() error { return a.step(groupCtx, "assets", a.fetchAssets) })
	}
	var held []Held
	var warnings []string
	group.Go(func() (err error) {
		held, warnings, err = a.decide(groupCtx)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	a.takeCerts(held, warnings)
	if a.dry {
		if err := a.guessEtcd(); err != nil {
			return err
		}
		return a.digestInputs(ctx)
	}
	for _, p := range a.fetching {
		if p.SHA256 == "" {
			a.sums[p.Path] = p.sum
		}
	}
	return a.digestInputs(ctx)
}

// decide has certificates issued, and then etcd's members decided. The order matters where a cluster begins: a lineage
// in the store is a sign that the cluster has lived, and then no authority is created.
func (a *pass) decide(ctx context.Context) (held []Held, warnings []string, err error) {
	if len(a.plan.Authorities)+len(a.plan.Certs) > 0 {
		err = a.step(ctx, "certs", func(ctx context.Context) (err error) {
			held, warnings, err = a.holdCerts(ctx)
			return err
		})
	}
	if err == nil && len(a.plan.Etcd) > 0 && !a.dry {
		err = a.step(ctx, "etcd", func(ctx context.Context) error { return a.prepareEtcd(ctx, held) })
	}
	return held, warnings, err
}

func (a *pass) fetchAssets(ctx context.Context) error {
	if a.Assets == nil {
		return fmt.Errorf("%s: there is no store to take assets from (set `store` in the configuration)", a.fetching[0].Object)
	}
	assets := make([]plan.Asset, len(a.fetching))
	for i, p := range a.fetching {
		assets[i] = p.Asset
	}
	ctx, done := waiting(ctx, a.limit.Assets, "assets: fetch", fmt.Sprintf("%d objects, verified", len(assets)))
	defer done()
	if err := a.Assets.Fetch(ctx, assets); err != nil {
		return err
	}
	var mu sync.Mutex
	for _, p := range a.fetching {
		source, sum, err := a.Assets.File(p.Asset)
		if err != nil {
			return err
		}
		if p.SHA256 != "" && p.SHA256 != sum {
			return status.Fail(status.ReasonAssetCorrupt, "", fmt.Errorf("asset %s: sha256 %s in the cache, %s in the plan", p.Object, sum, p.SHA256))
		}
		p.source, p.sum = source, sum
		if p.SHA256 != "" {
			continue
		}
		there, err := a.inPlace(ctx, p, &mu)
		if err != nil {
			return err
		}
		if there {
			a.placing = slices.DeleteFunc(a.placing, func(other *placement) bool { return other == p })
		}
	}
	return nil
}
