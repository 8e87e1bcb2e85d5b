package status

import (
	"slices"
	"strings"
	"time"

	"rekindle/agent/log"
)

// Discovery is how this node finds the others. The others themselves are in Peers: there may be thousands.
type Discovery struct {
	Mode    string    `json:"mode"`            // how nodes are found now: "gossip", "route53", "seeds" or "static"
	Error   string    `json:"error,omitempty"` // why it is not the one that was configured
	Nodes   int       `json:"nodes"`           // living, this one among them
	Masters int       `json:"masters"`         // of them, those with an API server
	Since   time.Time `json:"since"`           // of the last change
	Names   []Name    `json:"names"`           // in the order of the alphabet
	Proxy   *Proxy    `json:"proxy,omitempty"` // on nodes that have one
	Route53 *Route53  `json:"route53,omitempty"`
}

// Name is one of the cluster's names, and what it stands for here.
type Name struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
}

// Proxy is the node's own way to the API servers.
type Proxy struct {
	Listen   string    `json:"listen"`
	Open     int       `json:"open"` // connections
	Backends []Backend `json:"backends"`
}

// Backend is an API server as the proxy sees it.
type Backend struct {
	Instance string `json:"instance"`
	Address  string `json:"address"`
	State    string `json:"state"` // as package apiproxy names it
	Open     int    `json:"open"`  // connections
}

// Route53 is what this master does for the zone.
type Route53 struct {
	Zone    string    `json:"zone,omitempty"` // id and name
	State   string    `json:"state"`          // as package discovery/route53 names it
	Error   string    `json:"error,omitempty"`
	Hint    string    `json:"hint,omitempty"`
	Foreign []string  `json:"foreign"`        // names that are wanted and belong to somebody else, and why
	Held    []string  `json:"held"`           // addresses that stay because less than a majority of the masters is seen
	Wrote   time.Time `json:"wrote,omitzero"` // the last change of this node's
	Next    time.Time `json:"next,omitzero"`  // when it is tried again
}

// Discovered says how the others are found, and warns of what is wrong about that. The caller may go on changing what it
// gave.
func (b *Board) Discovered(d Discovery) {
	d = d.clone()
	d.tidy()
	b.update(func(s *Status) {
		s.Discovery = &d
		s.warnOfDiscovery(&d)
	})
}

// GossipOff says that this node takes no part in gossip although it is to, and warns of err; nil ends that.
func (b *Board) GossipOff(err error) { b.off(ReasonGossipOff, err) }

// APIProxyOff says that the node's API proxy takes no connections although it is to, and warns of err; nil ends that.
func (b *Board) APIProxyOff(err error) { b.off(ReasonAPIProxyOff, err) }

// off warns of err, with the hint that it brings, until it is nil.
func (b *Board) off(reason Reason, err error) {
	if err == nil {
		b.Resolve(reason)
		return
	}
	hint := ""
	if own, of := ReasonOf(err); own != ReasonUnknown {
		hint = of
	}
	b.SetWarnings(reason, hint, bound(oneLine(Message(err)), discoveryShown))
}

// The words of Discovery that have a meaning here.
const (
	modeGossip     = "gossip"
	backendUp      = "up"
	backendUnknown = "unknown"
	zoneReady      = "ready"
	zoneUnknown    = "unknown"
	zoneMissing    = "missing"
	zoneDenied     = "denied"
	zoneUnfit      = "unfit"
)

// warnOfDiscovery replaces what is warned of. That Route 53 is missing is no warning beside gossip: many clusters have none.
func (s *Status) warnOfDiscovery(d *Discovery) {
	var noMaster, unreached, denied, unusable, foreign, hint string
	if d.Masters == 0 {
		noMaster = "no master is known to live"
	}
	if p := d.Proxy; p != nil && len(p.Backends) > 0 && !slices.ContainsFunc(p.Backends, Backend.usable) {
		unreached = "no API server that the proxy at " + p.Listen + " knows of is up: " + strings.Join(p.states(), ", ")
	}
	if r := d.Route53; r != nil {
		hint, foreign = r.Hint, strings.Join(r.Foreign, "; ")
		switch {
		case r.State == zoneDenied:
			denied = r.problem()
		case r.State == zoneUnfit, r.State == zoneMissing && d.Mode != modeGossip:
			unusable = r.problem()
		}
	}
	s.keepWarning(ReasonNoMaster, "", noMaster)
	s.keepWarning(ReasonAPIUnreached, "", unreached)
	s.keepWarning(ReasonRoute53Denied, hint, denied)
	s.keepWarning(ReasonRoute53Unusable, hint, unusable)
	s.keepWarning(ReasonRoute53Foreign, "", foreign)
}

// keepWarning has one warning of the reason, which keeps its time while its text changes; without text there is none.
func (s *Status) keepWarning(reason Reason, hint, text string) {
	is := func(w Warning) bool { return w.Reason == reason }
	i := slices.IndexFunc(s.Warnings, is)
	switch {
	case text == "":
		s.Warnings = slices.DeleteFunc(s.Warnings, is)
	case i < 0:
		s.warn(reason, hint, text)
	default:
		s.Warnings[i].Message = text
		if hint != "" {
			s.Warnings[i].Hint = hint
		}
	}
}

// usable: a backend that was not checked yet gets connections, too.
func (b Backend) usable() bool { return b.State == backendUp || b.State == backendUnknown }

func (p *Proxy) states() []string {
	var states []string
	for _, b := range p.Backends {
		states = append(states, b.Address+" is "+b.State)
	}
	return states
}

// problem is the error, or the state where there is none.
func (r *Route53) problem() string {
	if r.Error != "" {
		return r.Error
	}
	return "Route 53 is " + r.State
}

// discoveryShown bounds a text that came from another machine, in bytes.
const discoveryShown = 600

// tidy takes from texts what may not be in a file that everybody reads: credentials in URLs, control characters, length.
func (d *Discovery) tidy() {
	texts := []*string{&d.Error}
	if r := d.Route53; r != nil {
		texts = append(texts, &r.Zone, &r.Error, &r.Hint)
		for i := range r.Foreign {
			texts = append(texts, &r.Foreign[i])
		}
	}
	for _, text := range texts {
		*text = bound(oneLine(log.Redact(*text)), discoveryShown)
	}
}

// clone is a copy that does not change any more. Its lists are there, if empty.
func (d Discovery) clone() Discovery {
	d.Names = append([]Name{}, d.Names...)
	for i := range d.Names {
		d.Names[i].Addresses = append([]string{}, d.Names[i].Addresses...)
	}
	if d.Proxy = copied(d.Proxy); d.Proxy != nil {
		d.Proxy.Backends = append([]Backend{}, d.Proxy.Backends...)
	}
	if d.Route53 = copied(d.Route53); d.Route53 != nil {
		d.Route53.Foreign, d.Route53.Held = append([]string{}, d.Route53.Foreign...), append([]string{}, d.Route53.Held...)
	}
	return d
}
