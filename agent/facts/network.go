package facts

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"rekindle/agent/status"
)

const (
	networkTimeout = 2 * time.Minute        // default of Options.NetworkTimeout
	watchPause     = 100 * time.Millisecond // before a subscription that broke is renewed
)

// Links is the machine's network. Netlink is the real one.
type Links interface {
	// Look reads interfaces and the default route; route is nil while there is none.
	Look() (interfaces []Interface, route *Route, err error)
	// Watch sends after anything changed, until ctx ends; then the channel is closed. Changes may be merged, but one
	// that happens after Watch returned is never lost. A channel that closes before means that watching broke.
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// WaitNetwork waits until the machine can be reached: an interface that is up, an address that is more than link-local,
// and a default route over it. It sleeps until the kernel says that something changed. The caller's context bounds it.
func WaitNetwork(ctx context.Context, links Links) ([]Interface, *Route, error) {
	interfaces, route, err := links.Look()
	if err == nil && networkLacks(interfaces, route) == "" {
		return interfaces, route, nil
	}
	defer status.Waiting(ctx, "network", "link, address and default route")()
	for {
		interfaces, route, err := watchNetwork(ctx, links)
		if !errors.Is(err, errWatch) {
			return interfaces, route, err
		}
		select { // the kernel drops a subscriber that does not keep up; what it missed is looked at again
		case <-ctx.Done():
		case <-time.After(watchPause/2 + rand.N(watchPause)):
		}
	}
}

var errWatch = errors.New("network: the kernel stopped to tell of changes")

// watchNetwork is WaitNetwork over one subscription; errWatch when that ended early.
func watchNetwork(ctx context.Context, links Links) ([]Interface, *Route, error) {
	watch, stop := context.WithCancel(ctx)
	defer stop()
	changes, err := links.Watch(watch)
	if err != nil {
		return nil, nil, fmt.Errorf("network: %w", err)
	}
	defer func() {
		stop()
		for range changes { // until the watcher has let go of its socket
		}
	}()
	for {
		// Also before the first change: it may have happened between the first look and the subscription.
		interfaces, route, err := links.Look()
		if err != nil {
			return nil, nil, fmt.Errorf("network: %w", err)
		}
		lacks := networkLacks(interfaces, route)
		if lacks == "" {
			return interfaces, route, nil
		}
		select {
		case _, ok := <-changes:
			if !ok && ctx.Err() == nil {
				return nil, nil, errWatch
			}
		case <-ctx.Done():
		}
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return nil, nil, fmt.Errorf("network: %w", context.Cause(ctx))
		case ctx.Err() != nil:
			return nil, nil, fmt.Errorf("network: %w", status.Fail(status.ReasonNetworkDown,
				"look at `networkctl status`; DHCP must give the primary interface an address and a route",
				fmt.Errorf("%s: %w", lacks, ctx.Err())))
		}
	}
}

// networkLacks names what is missing, or "".
func networkLacks(interfaces []Interface, route *Route) string {
	if route == nil {
		return "no default route"
	}
	for _, i := range interfaces {
		if i.Name != route.Interface {
			continue
		}
		if !i.Up {
			return "interface " + i.Name + " is down"
		}
		for _, a := range i.Addresses {
			if a.Addr().IsGlobalUnicast() {
				return ""
			}
		}
		return "interface " + i.Name + " has no address"
	}
	return "no interface " + route.Interface
}
