package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"rekindle/agent/config"
	"rekindle/agent/discovery/gossip"
	"rekindle/agent/host"
	"rekindle/agent/store"
)

// How often the keyring is read again, and how long it must be as it is before a master takes the next step of a rotation: every
// node has read it in between.
const (
	keysEvery  = time.Minute
	keysSettle = 4 * time.Minute
	keysLimit  = 5 * time.Second // for an answer, if there are keys of the last run
	gossipWait = 5 * time.Second // before another attempt to begin
	lookLimit  = time.Second     // how long gossip waits for the first word of this node's own components
)

// runGossip takes part until ctx ends.
func (f *finding) runGossip(ctx context.Context) {
	for {
		err := f.takePart(ctx)
		if ctx.Err() != nil {
			return
		}
		f.mu.Lock()
		f.off = err.Error()
		f.mu.Unlock()
		f.board.GossipOff(err)
		f.changed()
		f.Logger.Warn("no gossip", "error", err)
		if !pause(ctx, gossipWait/2+rand.N(gossipWait)) {
			return
		}
	}
}

// takePart runs gossip until ctx ends or it fails.
func (f *finding) takePart(ctx context.Context) error {
	if err := f.host.MkdirAll("/var/lib/rekindle/gossip"); err != nil {
		return err
	}
	ring, version, err := f.firstKeys(ctx)
	if err != nil {
		return err
	}
	state, err := f.host.Path(gossipState)
	if err != nil {
		return err
	}
	// An agent that starts again beside healthy components must not say that they are starting.
	select {
	case <-f.looked:
	case <-time.After(lookLimit):
	case <-ctx.Done():
		return ctx.Err()
	}
	f.mu.Lock()
	own := f.self
	f.mu.Unlock()
	g, err := gossip.Start(gossip.Options{
		Cluster: f.n.config.Cluster, Self: own, Bind: own.Addresses[0], Port: f.n.config.Discovery.Gossip.Port, Keys: ring,
		State: state, Seeds: f.gossipSeeds, Logger: f.Logger, Registry: f.metrics.Registry(),
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.gossip, f.off = g, ""
	f.mu.Unlock()
	f.board.GossipOff(nil)
	f.changed()
	ctx, end := context.WithCancel(ctx)
	defer func() {
		end()
		f.mu.Lock()
		f.gossip = nil
		f.mu.Unlock()
	}()
	f.background.Go(func() { f.keepKeys(ctx, g, version) })
	f.background.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-g.Changed():
				f.changed()
			}
		}
	})
	return g.Run(ctx)
}

// firstKeys are those to begin with: the keyring's, and where that does not answer those of the last run, with no version. A node
// whose agent starts again while the store is away would otherwise lose the others, and with them the API servers.
func (f *finding) firstKeys(ctx context.Context) (gossip.Keyring, store.Version, error) {
	kept, none := f.keptKeys()
	asking := ctx
	if none == nil {
		var cancel context.CancelFunc
		asking, cancel = context.WithTimeoutCause(ctx, keysLimit, fmt.Errorf("no answer within %s", keysLimit))
		defer cancel()
	}
	ring, version, err := f.keyring(asking)
	if err == nil {
		f.keep(ctx, ring)
		return ring, version, nil
	}
	if none != nil || errors.Is(err, store.ErrAbsent) || ctx.Err() != nil {
		return ring, version, err
	}
	f.Logger.Warn("gossip begins with the keys of the last run", "path", keysState, "error", err)
	return kept, "", nil
}

func (f *finding) keptKeys() (gossip.Keyring, error) {
	data, err := f.host.Read(keysState)
	if err != nil {
		return gossip.Keyring{}, err
	}
	return gossip.ParseKeyring(data)
}

// keep has keys ready for the next run.
func (f *finding) keep(ctx context.Context, ring gossip.Keyring) {
	data, err := ring.Encode()
	if err == nil {
		_, err = f.host.Write(ctx, host.File{Path: keysState, Mode: 0o600, Content: data})
	}
	if err != nil {
		f.Logger.Warn("the keys of gossip are not kept for the next run", "path", keysState, "error", err)
	}
}

// keyring reads the keys: from where the configuration says, or from the store, where a master makes them.
func (f *finding) keyring(ctx context.Context) (gossip.Keyring, store.Version, error) {
	if ref := f.n.config.Discovery.Gossip.Keyring; ref != "" {
		data, err := f.readRef(ctx, ref)
		if err != nil {
			return gossip.Keyring{}, "", err
		}
		ring, err := gossip.ParseKeyring(data)
		return ring, store.Version(data), err
	}
	if f.own.API != "" {
		return gossip.EnsureKeyring(ctx, f.n.records)
	}
	ring, version, err := gossip.ReadKeyring(ctx, f.n.records)
	if errors.Is(err, store.ErrAbsent) {
		err = fmt.Errorf("the store has no %s yet: the first master makes it: %w", gossip.KeyringKey, err)
	}
	return ring, version, err
}

func (f *finding) readRef(ctx context.Context, ref config.Ref) ([]byte, error) {
	return f.n.engine.Secrets.Read(ctx, string(ref))
}

// keepKeys reads the keyring again and again, and has a rotation go on.
func (f *finding) keepKeys(ctx context.Context, g *gossip.Gossip, version store.Version) {
	since := time.Now()
	for pause(ctx, keysEvery-keysEvery/4+rand.N(keysEvery/2)) {
		ring, now, err := f.keyring(ctx)
		if err == nil && now != version {
			err = g.SetKeys(ring)
		}
		if err != nil {
			f.Logger.Warn("the keys of gossip", "error", err)
			continue
		}
		if now != version {
			f.keep(ctx, ring)
			f.Logger.Info("the keys of gossip changed", "primary", ring.Primary.ID, "others", len(ring.Others))
			version, since = now, time.Now()
		}
		if f.own.API == "" || f.n.config.Discovery.Gossip.Keyring != "" || time.Since(since) < keysSettle {
			continue
		}
		if next, step, ok := ring.Next(); ok {
			err := gossip.WriteKeyring(ctx, f.n.records, next, version)
			f.Logger.Info("rotation of the keys of gossip", "step", step, "error", err)
		}
	}
}

// Keys are a cluster's keys of gossip, as its nodes read them.
type Keys struct {
	Place   string // the store, or the reference that discovery.gossip.keyring names
	Brought bool   // such a reference: nobody but the operator writes there
	Store   store.Store
	Ring    gossip.Keyring
	Version store.Version
}

// NodeKeys reads the keys as this node's agent does; it makes none. An error that is store.ErrAbsent says that there are none in
// the store.
func NodeKeys(ctx context.Context, options Options) (*Keys, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, accessTimeout,
		fmt.Errorf("not known within %s: see what the node waits for: rekindle status", accessTimeout))
	defer cancel()
	a := newAgent(options)
	n, err := a.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("this node's configuration: %w", cmp.Or(context.Cause(ctx), err))
	}
	k := &Keys{Place: n.config.Store, Store: n.records}
	if ref := n.config.Discovery.Gossip.Keyring; ref != "" {
		k.Place, k.Brought = string(ref), true
	}
	k.Ring, k.Version, err = (&finding{Agent: a, n: n}).keyring(ctx)
	return k, err
}
