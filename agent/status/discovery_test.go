package status

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// However the others are found, the page says it in a hundred columns.
func TestDiscoveryTextGolden(t *testing.T) {
	for name, discovery := range discoveries {
		t.Run(name, func(t *testing.T) {
			p := &page{now: bootStart.Add(2 * time.Hour)}
			p.discovery(discovery())
			golden(t, "discovery-"+name+".txt", p.Bytes())
			for line := range strings.Lines(p.String()) {
				if utf8.RuneCountInString(line) > 101 {
					t.Errorf("longer than a terminal is wide: %s", line)
				}
			}
		})
	}
}

func TestBoardDiscovered(t *testing.T) {
	b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
	defer b.Close()
	given := fullDiscovery()
	given.Error = "https://user:secret@store/x\x1b[2J"
	given.Route53.Foreign = []string{strings.Repeat("x", 4096)}
	b.Discovered(*given)
	given.Names[0].Addresses[0], given.Proxy.Backends[0].State, given.Route53.Held[0] = "changed", "changed", "changed"
	s := b.Snapshot().Discovery
	want := fullDiscovery()
	if diff := cmp.Diff(want.Proxy, s.Proxy); diff != "" {
		t.Errorf("proxy (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Names[:2], s.Names[:2]); diff != "" || s.Names[2].Addresses == nil {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if s.Route53.Held[0] != "10.0.3.7" || len(s.Route53.Foreign[0]) > discoveryShown {
		t.Errorf("route 53: %+v", s.Route53)
	}
	if strings.Contains(s.Error, "secret") || strings.Contains(s.Error, "\x1b") {
		t.Errorf("a password or a control character is in the file: %q", s.Error)
	}
}

// Each fault warns for as long as it lasts, with the hint that came with it.
func TestDiscoveryWarns(t *testing.T) {
	zone := func(state string) func(*Discovery) {
		return func(d *Discovery) { d.Route53 = &Route53{State: state, Error: "403", Hint: "allow it"} }
	}
	for name, tc := range map[string]struct {
		edit func(*Discovery)
		want []Reason
	}{
		"all is well":            {func(*Discovery) {}, nil},
		"no master":              {func(d *Discovery) { d.Masters = 0 }, []Reason{ReasonNoMaster}},
		"no API server":          {func(d *Discovery) { d.Proxy.Backends[0].State = "down" }, []Reason{ReasonAPIUnreached}},
		"none was checked":       {func(d *Discovery) { d.Proxy.Backends[0].State = "unknown" }, nil},
		"one of two":             {func(d *Discovery) { d.Proxy.Backends = append(d.Proxy.Backends, Backend{State: "down"}) }, nil},
		"denied":                 {zone("denied"), []Reason{ReasonRoute53Denied}},
		"unfit":                  {zone("unfit"), []Reason{ReasonRoute53Unusable}},
		"missing beside gossip":  {zone("missing"), nil},
		"missing without gossip": {func(d *Discovery) { zone("missing")(d); d.Mode = "seeds" }, []Reason{ReasonRoute53Unusable}},
		"throttled":              {zone("throttled"), nil},
		"foreign":                {func(d *Discovery) { d.Route53 = &Route53{State: "ready", Foreign: []string{"a"}} }, []Reason{ReasonRoute53Foreign}},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
			defer b.Close()
			d := discoveries["minion"]()
			tc.edit(d)
			b.Discovered(*d)
			var got []Reason
			for _, w := range b.Snapshot().Warnings {
				got = append(got, w.Reason)
				if d.Route53 != nil && d.Route53.Hint != "" && w.Hint != d.Route53.Hint {
					t.Errorf("the hint is %q", w.Hint)
				}
				if w.Message == "" || w.Hint == "" {
					t.Errorf("it says nothing: %+v", w)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("it warns of %v, want %v", got, tc.want)
			}
			b.Discovered(*discoveries["minion"]())
			if w := b.Snapshot().Warnings; len(w) != 0 {
				t.Errorf("it is over: %+v", w)
			}
		})
	}
}

func TestDiscoveryWarningsKeepTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
		defer b.Close()
		d := discoveries["minion"]()
		d.Route53 = &Route53{State: "denied", Error: "first"}
		b.Discovered(*d)
		began := time.Now()
		time.Sleep(time.Minute)
		d.Route53.Error, d.Route53.Hint = "second", "do it"
		b.Discovered(*d)
		want := []Warning{{ReasonRoute53Denied, "second", "do it", began}}
		if diff := cmp.Diff(want, b.Snapshot().Warnings); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestBoardOff(t *testing.T) {
	b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
	defer b.Close()
	b.GossipOff(Fail(ReasonStoreDenied, "allow s3:GetObject", errors.New("no key")))
	b.APIProxyOff(errors.New("listen: address already in use"))
	hints := map[Reason]string{}
	for _, w := range b.Snapshot().Warnings {
		hints[w.Reason] = w.Message + " / " + w.Hint
	}
	want := map[Reason]string{ReasonGossipOff: "no key / allow s3:GetObject",
		ReasonAPIProxyOff: "listen: address already in use / " + ReasonAPIProxyOff.Hint()}
	if !maps.Equal(hints, want) {
		t.Errorf("%v", hints)
	}
	b.GossipOff(nil)
	b.APIProxyOff(nil)
	if w := b.Snapshot().Warnings; len(w) != 0 {
		t.Errorf("it is over: %+v", w)
	}
}
