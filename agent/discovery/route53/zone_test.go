package route53

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/status"
)

func TestZone(t *testing.T) {
	private := func(id, name string) Zone { return Zone{id, name, true} }
	public := func(id, name string) Zone { return Zone{id, name, false} }
	for name, tt := range map[string]struct {
		zones    []Zone
		id, zone string // of the options
		want     string // id
		state    State
		message  string
		hint     string
	}{
		"by id":                 {zones: []Zone{private("Z1", "example.com.")}, id: "Z1", want: "Z1"},
		"by id with its path":   {zones: []Zone{private("Z1", "example.com.")}, id: "/hostedzone/Z1", want: "Z1"},
		"no such id":            {id: "Z1", state: Missing, message: "NoSuchHostedZone", hint: "correct discovery.zoneID"},
		"a public id":           {zones: []Zone{public("Z1", "example.com.")}, id: "Z1", state: Unfit, message: "zone Z1 (example.com.) is public", hint: "private hosted zone"},
		"an id of another name": {zones: []Zone{private("Z1", "example.org.")}, id: "Z1", state: Unfit, message: "example.org. and cannot hold internal.k.example.com.", hint: "name a private zone"},
		"part of a label":       {zones: []Zone{private("Z1", "xample.com.")}, id: "Z1", state: Unfit, message: "cannot hold", hint: "name a private zone"},
		"by name":               {zones: []Zone{private("Z1", "example.com."), private("Z2", "k.example.com.")}, zone: "Example.com", want: "Z1"},
		"private wins":          {zones: []Zone{public("Z1", "example.com."), private("Z2", "example.com.")}, zone: "example.com", want: "Z2"},
		"two private ones":      {zones: []Zone{private("Z1", "example.com."), private("Z2", "example.com.")}, zone: "example.com", state: Unfit, message: "2 private zones are called example.com.: Z1, Z2", hint: "set discovery.zoneID"},
		"no such name":          {zone: "example.com", state: Missing, message: "no hosted zone is called example.com.", hint: "create a private hosted zone"},
		"a public name":         {zones: []Zone{public("Z1", "example.com.")}, zone: "example.com", state: Unfit, message: "is public", hint: "private hosted zone"},
		"a name of others":      {zones: []Zone{private("Z1", "example.org.")}, zone: "example.org", state: Unfit, message: "cannot hold", hint: "name a private zone"},
		"by the cluster":        {zones: []Zone{private("Z1", "com."), private("Z2", "example.com."), public("Z3", "k.example.com.")}, want: "Z2"},
		"the longest":           {zones: []Zone{private("Z1", "example.com."), private("Z2", "internal.k.example.com."), private("Z3", "k.example.com.")}, want: "Z2"},
		"two of the longest":    {zones: []Zone{private("Z1", "k.example.com."), private("Z2", "k.example.com."), private("Z3", "example.com.")}, state: Unfit, message: "Z1, Z2", hint: "set discovery.zoneID"},
		"public alone":          {zones: []Zone{public("Z1", "example.com.")}, state: Unfit, message: "zone Z1 (example.com.) is public", hint: "private hosted zone"},
		"none at all":           {state: Missing, message: "no hosted zone contains internal.k.example.com.", hint: "gossip does without"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				m.zones = tt.zones
				k, err := New(Options{Cluster: cluster, ZoneID: tt.id, ZoneName: tt.zone, API: m})
				if err != nil {
					t.Fatal(err)
				}
				got, err := k.Probe(t.Context())
				if tt.want != "" {
					if err != nil || k.Status().Zone != tt.want || got.State != Ready {
						t.Errorf("zone %q, %+v, %v", k.Status().Zone, got, err)
					}
					return
				}
				if err == nil || got.State != tt.state || !strings.Contains(got.Error, tt.message) || !strings.Contains(got.Hint, tt.hint) {
					t.Errorf("%+v\nwant %s, %q, %q", got, tt.state, tt.message, tt.hint)
				}
				if reason, _ := status.ReasonOf(err); reason != status.ReasonConfigInvalid {
					t.Errorf("reason %s", reason)
				}
				if !got.NextTry.After(time.Now()) {
					t.Error("it is not tried again")
				}
			})
		})
	}
}
