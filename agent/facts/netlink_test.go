package facts

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNamespace moves the test into a network namespace of its own, where nothing is up. The thread is never unlocked:
// it ends with the test's goroutine, and the namespace with it.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
}

// plugged makes a link with its other end up, so that it has a carrier as soon as it is up itself.
func plugged(t *testing.T, name string, mtu int) netlink.Link {
	t.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}, PeerName: name + "-peer"}
	if err := netlink.LinkAdd(link); err != nil {
		t.Skipf("no virtual links here: %v", err)
	}
	peer, err := netlink.LinkByName(name + "-peer")
	if err == nil {
		err = netlink.LinkSetUp(peer)
	}
	netlinkOK(t, err)
	return link
}

func addTo(t *testing.T, link netlink.Link, address string) {
	t.Helper()
	parsed, err := netlink.ParseAddr(address)
	if err == nil {
		err = netlink.AddrAdd(link, parsed)
	}
	if err != nil {
		t.Error(err)
	}
}

func routeOver(t *testing.T, link netlink.Link, gateway string, metric int) {
	t.Helper()
	if err := netlink.RouteAdd(&netlink.Route{
		LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway), Priority: metric,
	}); err != nil {
		t.Error(err)
	}
}

// The kernel's own messages end the wait: nothing here looks on a timer.
func TestNetlinkWaits(t *testing.T) {
	inNamespace(t)
	interfaces, route, err := (Netlink{}).Look()
	if err != nil || route != nil || len(interfaces) != 0 {
		t.Errorf("an empty namespace: %v, %v, %v", interfaces, route, err)
		return
	}
	link := plugged(t, "ens5", 9001)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	links := &triggered{stage: []func(){
		func() { netlinkOK(t, netlink.LinkSetUp(link)) },
		func() { addTo(t, link, "10.9.8.7/24") },
		func() { routeOver(t, link, "10.9.8.1", 0) },
	}}
	interfaces, route, err = WaitNetwork(ctx, links)
	if err != nil {
		t.Error(err)
		return
	}
	want := Route{Interface: "ens5", Gateway: netip.MustParseAddr("10.9.8.1"), MTU: 9001}
	if *route != want {
		t.Errorf("%+v, want %+v", *route, want)
	}
	if len(interfaces) != 1 || interfaces[0].Addresses[0] != netip.MustParsePrefix("10.9.8.7/24") || !interfaces[0].Up {
		t.Errorf("%+v", interfaces)
	}
	if len(links.stage) != 0 {
		t.Errorf("%d stages are left", len(links.stage))
	}
}

// triggered takes the next stage after every look that follows the subscription.
type triggered struct {
	Netlink
	watched bool
	stage   []func()
}

func (l *triggered) Watch(ctx context.Context) (<-chan struct{}, error) {
	l.watched = true
	return l.Netlink.Watch(ctx)
}

func (l *triggered) Look() ([]Interface, *Route, error) {
	interfaces, route, err := l.Netlink.Look()
	if l.watched && len(l.stage) > 0 {
		next := l.stage[0]
		l.stage = l.stage[1:]
		next()
	}
	return interfaces, route, err
}

func netlinkOK(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func TestDefaultRouteWithTheLowestMetric(t *testing.T) {
	inNamespace(t)
	var links []netlink.Link
	for n, name := range []string{"ens5", "ens6"} {
		link := plugged(t, name, 1500+n)
		netlinkOK(t, netlink.LinkSetUp(link))
		addTo(t, link, []string{"10.1.0.5/24", "10.2.0.5/24"}[n])
		links = append(links, link)
	}
	routeOver(t, links[0], "10.1.0.1", 1024)
	routeOver(t, links[1], "10.2.0.1", 512)
	if _, route, err := (Netlink{}).Look(); err != nil || route == nil || route.Interface != "ens6" || route.MTU != 1501 {
		t.Errorf("%+v, %v", route, err)
	}
	routeOver(t, links[0], "10.1.0.1", 100)
	if _, route, err := (Netlink{}).Look(); err != nil || route == nil || route.Interface != "ens5" {
		t.Errorf("%+v, %v", route, err)
	}
}

func TestWatchLetsGoOfItsSockets(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	changes, err := (Netlink{}).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case _, ok := <-changes:
			if !ok {
				return // goleak looks after the rest
			}
		case <-deadline:
			t.Fatal("the watch goes on")
		}
	}
}
