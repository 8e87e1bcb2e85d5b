package facts

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/status"
)

// wires is a network in memory. Each change wakes the watchers.
type wires struct {
	mu         sync.Mutex
	interfaces []Interface
	route      *Route
	looks      int
	watching   []chan struct{}
	lookErr    error
	watchErr   error
	breaks     int // so many subscriptions end at once
}

func (w *wires) Look() ([]Interface, *Route, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	return w.interfaces, w.route, w.lookErr
}

func (w *wires) Watch(ctx context.Context) (<-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watchErr != nil {
		return nil, w.watchErr
	}
	inner, outer := make(chan struct{}, 1), make(chan struct{}, 1)
	w.watching = append(w.watching, inner)
	broken := w.breaks > 0
	w.breaks--
	go func() {
		defer close(outer)
		for !broken {
			select {
			case <-inner:
				outer <- struct{}{}
			case <-ctx.Done():
				return
			}
		}
	}()
	return outer, nil
}

func (w *wires) change(after time.Duration, change func()) {
	time.AfterFunc(after, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		change()
		for _, c := range w.watching {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	})
}

func ens5(up bool, addresses ...string) []Interface {
	i := Interface{Name: "ens5", MTU: 9001, Up: up}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
	}
	return []Interface{i}
}

var toENS5 = &Route{Interface: "ens5", Gateway: netip.MustParseAddr("10.0.0.1"), MTU: 9001}

func TestNetworkThatIsThere(t *testing.T) {
	w := &wires{interfaces: ens5(true, "10.0.0.9/20"), route: toENS5}
	interfaces, route, err := WaitNetwork(t.Context(), w)
	if err != nil || len(interfaces) != 1 || route != toENS5 {
		t.Error(interfaces, route, err)
	}
	if len(w.watching) != 0 {
		t.Error("subscribed without need")
	}
}

func TestNetworkIsWaitedForBySubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, told := &wires{interfaces: ens5(false)}, new(waits)
		w.change(1*time.Minute, func() { w.interfaces = ens5(true) })
		w.change(2*time.Minute, func() { w.route = toENS5 })
		w.change(3*time.Minute, func() { w.interfaces = ens5(true, "169.254.3.4/16", "fe80::1/64") })
		w.change(4*time.Minute, func() { w.interfaces = ens5(true, "fe80::1/64", "2400::9/64") })
		start := time.Now()
		ctx, cancel := context.WithTimeout(status.WithWaits(t.Context(), told), 10*time.Minute)
		defer cancel()
		_, route, err := WaitNetwork(ctx, w)
		if err != nil || route == nil || time.Since(start) != 4*time.Minute {
			t.Fatalf("%v, %v after %s", route, err, time.Since(start))
		}
		if w.looks > 6 { // two at the start, one for each change
			t.Errorf("looked %d times: that is polling", w.looks)
		}
		if len(told.names) != 1 || told.names[0] != "network" || told.open != 0 {
			t.Errorf("%+v", told)
		}
	})
}

func TestNetworkThatNeverComes(t *testing.T) {
	for lacks, w := range map[string]*wires{
		"no default route":            {interfaces: ens5(true, "10.0.0.9/20")},
		"interface ens5 is down":      {interfaces: ens5(false, "10.0.0.9/20"), route: toENS5},
		"interface ens5 has no addre": {interfaces: ens5(true, "169.254.0.9/16"), route: toENS5},
		"no interface ens5":           {route: toENS5},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, _, err := WaitNetwork(ctx, w)
			wantReason(t, err, status.ReasonNetworkDown, lacks, "networkctl")
		})
	}
}

func TestNetworkWatchThatBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wires{breaks: 3}
		w.change(time.Minute, func() { w.interfaces, w.route = ens5(true, "10.0.0.9/20"), toENS5 })
		if _, route, err := WaitNetwork(t.Context(), w); err != nil || route == nil {
			t.Fatal(route, err)
		}
		if len(w.watching) != 4 {
			t.Errorf("%d subscriptions", len(w.watching))
		}
	})
}

func TestNetworkErrors(t *testing.T) {
	broken := errors.New("no netlink here")
	for _, w := range []*wires{{watchErr: broken}, {lookErr: broken}} {
		if _, _, err := WaitNetwork(t.Context(), w); !errors.Is(err, broken) {
			t.Error(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, _, err := WaitNetwork(ctx, &wires{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
