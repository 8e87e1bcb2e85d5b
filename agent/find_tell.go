package agent

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"rekindle/agent/apiproxy"
	"rekindle/agent/discovery"
	"rekindle/agent/host"
	"rekindle/agent/status"
)

// lastResort are the nodes that names and connections go to: those that live, and if no master does, the masters that died. This
// node may be the one that is cut off, and then they all died for it, one after the other.
func lastResort(all []discovery.Sighting) []discovery.Sighting {
	if slices.ContainsFunc(all, serves) {
		return all
	}
	all = slices.Clone(all)
	for i := range all {
		if all[i].API != "" && all[i].State == discovery.Dead {
			all[i].State = discovery.Suspect
		}
	}
	return all
}

// publish writes the names with the addresses that they have beyond this node, for those who do not read its hosts file.
func (f *finding) publish(ctx context.Context, names map[string][]netip.Addr) error {
	lines := hostLines(names)
	if len(lines) == 0 {
		return nil // what was known last is the better guess
	}
	if now, err := f.host.Read(HostsPath); err == nil && bytes.Equal(now, lines) {
		return nil
	}
	_, err := f.host.Write(ctx, host.File{Path: HostsPath, Mode: 0o644, Content: lines})
	return err
}

// hostLines are names as hosts(5) has them, in order.
func hostLines(names map[string][]netip.Addr) []byte {
	var lines bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, address := range names[name] {
			fmt.Fprintf(&lines, "%s %s\n", address, name)
		}
	}
	return lines.Bytes()
}

// backends are the API servers of those that live.
func backends(all []discovery.Sighting) []apiproxy.Backend {
	var list []apiproxy.Backend
	for _, p := range all {
		if p.API != "" && p.APIPort != 0 && p.Living() {
			list = append(list, apiproxy.Backend{Instance: p.Instance, Health: p.API,
				Address: netip.AddrPortFrom(p.Addresses[0], uint16(p.APIPort))})
		}
	}
	return list
}

// tellPeers shows an operator whom this node sees.
func (f *finding) tellPeers(all []discovery.Sighting, names map[string][]netip.Addr, mode string) {
	now := time.Now().UTC()
	peers := status.Peers{Written: now, Self: f.own.Instance, Peers: []status.Peer{}}
	d := status.Discovery{Mode: mode, Names: []status.Name{}}
	for _, p := range all {
		peers.Peers = append(peers.Peers, status.Peer{Instance: p.Instance, Node: p.Node, Role: p.Role, Zone: p.Zone,
			Addresses: texts(p.Addresses), State: string(p.State), Since: p.Since, API: string(p.API), Etcd: string(p.Etcd),
			Mode: p.Mode, Through: p.Through, Agent: p.Version})
		if p.Living() {
			d.Nodes++
			if p.API != "" {
				d.Masters++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d.Names = append(d.Names, status.Name{Name: name, Addresses: texts(names[name])})
	}
	if f.proxy != nil {
		s := f.proxy.Status()
		d.Proxy = &status.Proxy{Listen: f.listen.String(), Open: s.Open, Backends: []status.Backend{}}
		for _, b := range s.Backends {
			d.Proxy.Backends = append(d.Proxy.Backends, status.Backend{Instance: b.Instance, Address: b.Address.String(), State: string(b.State), Open: b.Open})
		}
	}
	if f.zone != nil {
		s := f.zone.Status()
		d.Route53 = &status.Route53{Zone: strings.TrimSpace(s.Zone + " " + s.ZoneName), State: string(s.State), Error: s.Error, Hint: s.Hint,
			Wrote: s.LastWrite, Next: s.NextTry, Foreign: s.Foreign, Held: texts(s.Held)}
	}
	f.mu.Lock()
	d.Error = f.off
	if said := fmt.Sprint(mode, d.Nodes, d.Masters, d.Names); said != f.said {
		f.said, f.since = said, now
	}
	d.Since = f.since
	f.mu.Unlock()
	f.board.Discovered(d)
	path, err := f.host.Path(PeersPath)
	if err == nil {
		err = peers.Save(path)
	}
	if err != nil {
		f.Logger.Debug("peers", "path", PeersPath, "error", err)
	}
}

func texts(addresses []netip.Addr) []string {
	all := make([]string, 0, len(addresses))
	for _, address := range addresses {
		all = append(all, address.String())
	}
	return all
}
