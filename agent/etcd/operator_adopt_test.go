package etcd

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/store"
)

var masterA = plan.Etcd{
	Name: "main", Member: "i-a", DataDir: "/var/lib/etcd/main", Domain: "main.etcd.internal.prod", Address: "10.0.0.1", Scheme: "https",
	ClientPort: 2379, PeerPort: 2380,
}

func held(name, peerURL string) peers.Member {
	return peers.Member{ID: 7, Name: name, PeerURLs: []string{peerURL}}
}

// found is a directory with data of node-a, one of kubeadm's, beside no marker unless it is given one.
func found(state datadir.State, marker *datadir.Marker, members ...peers.Member) Holding {
	return Holding{Found: datadir.Found{State: state, Marker: marker, Why: "page 3"}, Self: "node-a", Members: members}
}

func pictured(record *Lineage, generations ...int) Picture {
	p := Picture{Record: record}
	for _, g := range generations {
		p.Backups.Entries = append(p.Backups.Entries, backup.Entry{Cluster: "main", ID: "x", Generation: g, Revision: 5, Complete: true})
	}
	p.Newest = backup.Newest(p.Backups.Entries, AnyGeneration)
	return p
}

var (
	alone  = []peers.Member{held("node-a", "https://10.0.0.1:2380")}
	triple = []peers.Member{held("node-c", "https://10.0.0.3:2380"), held("node-a", "https://10.0.0.1:2380"), held("node-b", "https://b.example:2380")}
	own    = Member{Name: "node-a", Instance: "i-a", Address: "10.0.0.1", PeerURL: "https://10.0.0.1:2380", ClientURL: "https://node-a.main.etcd.internal.prod:2379"}
	marked = &datadir.Marker{UID: "u", Generation: 3, Member: "node-a", Token: "u-g3", Instance: "i-a"}
)

func TestAdopt(t *testing.T) {
	lineage := func(uid string, generation int, holder string, members ...Member) *Lineage {
		if members == nil {
			members = []Member{}
		}
		return &Lineage{UID: uid, Generation: generation, State: Running, Token: tokenOf(uid, generation), Holder: Holder{Instance: holder}, Members: members}
	}
	mark := func(uid string, generation int) *datadir.Marker {
		return &datadir.Marker{UID: uid, Generation: generation, Member: "node-a", Token: tokenOf(uid, generation), Instance: "i-a"}
	}
	b := Member{Name: "node-b", Instance: "i-b", Address: "10.0.0.2", PeerURL: "https://b.example:2380", ClientURL: "https://node-b.main.etcd.internal.prod:2379"}
	c := Member{Name: "node-c", Instance: "i-c", Address: "10.0.0.3", PeerURL: "https://10.0.0.3:2380", ClientURL: "https://node-c.main.etcd.internal.prod:2379"}
	others := map[string]Whereabouts{"node-b": {"i-b", "10.0.0.2"}, "node-c": {Instance: "i-c"}}
	for name, tc := range map[string]struct {
		known Adoptable
		want  Adoption
	}{
		"backups, from anywhere": {Adoptable{Picture: pictured(nil, 1, 3), UID: "u"},
			Adoption{Restores: true, Record: lineage("u", 3, ByOperator)}},
		"backups, on an empty master": {Adoptable{Picture: pictured(nil, 3), UID: "u", Member: &masterA, Instance: "i-a", Holding: found(datadir.Empty, nil)},
			Adoption{Restores: true, Record: lineage("u", 3, "i-a")}},
		"data from elsewhere": {Adoptable{Picture: pictured(nil), Member: &masterA, Instance: "i-a", Holding: found(datadir.Sound, nil, alone...)},
			Adoption{Record: lineage("new", 1, "i-a", own), Marker: mark("new", 1)}},
		"data from elsewhere, and backups": {Adoptable{Picture: pictured(nil, 4), UID: "u", Member: &masterA, Instance: "i-a", Holding: found(datadir.Sound, nil, alone...)},
			Adoption{Record: lineage("new", 5, "i-a", own), Marker: mark("new", 5)}},
		"three members": {Adoptable{Picture: pictured(nil), Member: &masterA, Instance: "i-a", Holding: found(datadir.Sound, nil, triple...), Others: others},
			Adoption{Record: lineage("new", 1, "i-a", own, b, c), Marker: mark("new", 1)}},
		"a record that was lost": {Adoptable{Picture: pictured(nil, 3), UID: "u", Member: &masterA, Instance: "i-a", Holding: found(datadir.Sound, marked, alone...)},
			Adoption{Record: lineage("u", 3, "i-a", own)}},
		"a record that was lost, and etcd runs": {Adoptable{Picture: pictured(nil, 3), UID: "u", Member: &masterA, Instance: "i-a",
			Holding: found(datadir.Busy, marked), View: &peers.View{Members: triple}, Others: others},
			Adoption{Record: lineage("u", 3, "i-a", own, b, c)}},
		"a volume whose record was lost": {Adoptable{Picture: pictured(nil), Member: &masterA, Instance: "i-z", Holding: found(datadir.Sound, marked, alone...)},
			Adoption{Record: lineage("u", 3, "i-z", Member{Name: "node-a", Instance: "i-z", Address: own.Address, PeerURL: own.PeerURL, ClientURL: own.ClientURL}),
				Marker: &datadir.Marker{UID: "u", Generation: 3, Member: "node-a", Token: "u-g3", Instance: "i-z"}}},
		"the marker alone": {Adoptable{Picture: pictured(lineage("u", 3, "i-b", own, b, c)), Member: &masterA, Instance: "i-a", Holding: found(datadir.Sound, nil, triple...)},
			Adoption{Marker: mark("u", 3)}},
	} {
		got, err := Adopt(tc.known, "new")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(got.Says) == 0 {
			t.Errorf("%s: says nothing", name)
		}
		got.Says = nil
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
		if got.Record == nil {
			continue
		}
		raw, err := got.Record.encode()
		if err == nil {
			raw = []byte(strings.Replace(string(raw), `"nonce": ""`, `"nonce": "n"`, 1))
			_, err = ParseLineage(raw)
		}
		if err != nil {
			t.Errorf("%s: masters could not read the record: %v", name, err)
		}
	}
}

func TestAdoptRefuses(t *testing.T) {
	here := func(p Picture, h Holding) Adoptable {
		return Adoptable{Picture: p, Member: &masterA, Instance: "i-a", Holding: h, UID: "u"}
	}
	unlike := cluster(1, "node-a")
	unlike.Members[0].Instance, unlike.Members[0].PeerURL = "i-a", "https://other:2380"
	for name, c := range map[string]struct {
		known Adoptable
		says  string
	}{
		"unknown":                  {Adoptable{Picture: Picture{Unknown: errDown}}, "503"},
		"a record":                 {Adoptable{Picture: pictured(cluster(1, "a"), 1)}, "recover"},
		"a record, and its data":   {here(pictured(cluster(3, "node-a")), found(datadir.Sound, marked, alone...)), "nothing to adopt"},
		"a record without it":      {here(pictured(cluster(1, "b")), found(datadir.Sound, nil, alone...)), `does not list the data's member "node-a" on this instance, i-a`},
		"a record of another":      {here(pictured(unlike), found(datadir.Sound, nil, alone...)), "another cluster's data"},
		"a record, and no data":    {here(pictured(cluster(1, "a")), found(datadir.Empty, nil)), "nothing to adopt"},
		"nothing":                  {Adoptable{Picture: pictured(nil), Cluster: "events"}, "put a backup under etcd/events/backups/"},
		"nothing here":             {here(pictured(nil), found(datadir.Empty, nil)), "put a backup under etcd/"},
		"torn":                     {here(pictured(nil, 1), found(datadir.Torn, nil)), "page 3: no etcd would start from it. Move /var/lib/etcd/main/data away"},
		"torn, marked":             {here(pictured(nil, 1), found(datadir.Torn, marked)), "torn"},
		"somebody's etcd":          {here(pictured(nil), found(datadir.Busy, nil)), "stop it"},
		"our etcd, without quorum": {here(pictured(nil), found(datadir.Busy, marked)), "has no quorum"},
		"superseded":               {here(pictured(nil, 3, 4), found(datadir.Sound, marked, alone...)), "backups of generation 4: it was superseded"},
		"members elsewhere":        {here(pictured(nil), found(datadir.Sound, nil, triple...)), "--member node-c=INSTANCE@ADDRESS --member node-b=INSTANCE@ADDRESS"},
		"a member that never was":  {here(pictured(nil), found(datadir.Sound, nil, held("", "https://10.0.0.9:2380"))), "etcdctl member remove 7"},
		"without its own":          {here(pictured(nil), found(datadir.Sound, nil, held("node-a2", "https://10.0.0.1:2380"))), `does not list its own member "node-a"`},
	} {
		if c.known.Others == nil && name == "without its own" {
			c.known.Others = map[string]Whereabouts{"node-a2": {Instance: "i-a2"}}
		}
		got, err := Adopt(c.known, "new")
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, error %v; want %q", name, got, err, c.says)
		}
	}
}

// A name that no certificate could have is reached by its address; a URL that others cannot reach is said.
func TestAdoptedAddresses(t *testing.T) {
	h := found(datadir.Sound, nil, held("ip-10-0-0-1.ec2.internal", "http://127.0.0.1:2380"))
	h.Self = "ip-10-0-0-1.ec2.internal"
	got, err := Adopt(Adoptable{Member: &masterA, Instance: "i-a", Holding: h}, "new")
	if err != nil {
		t.Fatal(err)
	}
	if m := got.Record.Members[0]; m.ClientURL != "https://10.0.0.1:2379" || m.Address != "10.0.0.1" {
		t.Errorf("%+v", m)
	}
	if says := strings.Join(got.Says, "\n"); !strings.Contains(says, "member update ID --peer-urls=https://ip-10-0-0-1.ec2.internal.main.etcd.internal.prod:2380") {
		t.Error(says)
	}
}

func TestParseWhereabouts(t *testing.T) {
	got, err := ParseWhereabouts([]string{"b=i-b@10.0.0.2", "c=i-c", "d=i-d@2001:db8::1"})
	want := map[string]Whereabouts{"b": {"i-b", "10.0.0.2"}, "c": {"i-c", ""}, "d": {"i-d", "2001:db8::1"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v, %s", err, diff)
	}
	for _, bad := range [][]string{{"b"}, {"=i-b"}, {"b="}, {"b=@10.0.0.1"}, {"b=i-b@nowhere"}, {"b=i-b", "b=i-c"}} {
		if got, err := ParseWhereabouts(bad); err == nil || !strings.Contains(err.Error(), "--member") {
			t.Errorf("%q: %v, error %v", bad, got, err)
		}
	}
}

// A record is created once, and swapped only against the one that was looked at.
func TestOperatorWrites(t *testing.T) {
	records := store.NewDir(t.TempDir())
	o := &Operator{Store: records, Cluster: "main", Logger: slog.New(slog.DiscardHandler)}
	first := cluster(1, "a", "b")
	if err := o.Create(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := o.Create(t.Context(), cluster(7, "z")); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("a second create: %v", err)
	}
	seen, err := o.Look(t.Context())
	if err != nil || seen.Record == nil || seen.Record.Generation != 1 || seen.Newest != nil {
		t.Fatalf("%+v, error %v", seen, err)
	}
	next, _, err := MarkLost(seen.Record, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Swap(t.Context(), next, seen.Version); err != nil {
		t.Fatal(err)
	}
	if err := o.Swap(t.Context(), next, seen.Version); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("a swap against an older version: %v", err)
	}
	again, err := o.Look(t.Context())
	if err != nil || again.Record.Members[1].Lost != ByOperator || again.Record.Holder.Instance != "i-a" || again.Record.Holder.Nonce == "n" {
		t.Fatalf("%+v, error %v", again.Record, err)
	}
	if err := o.Fence(first)(t.Context()); err != nil {
		t.Errorf("the same generation is fenced: %v", err)
	}
	if err := o.Fence(cluster(2, "a"))(t.Context()); err == nil {
		t.Error("another generation is not fenced")
	}
}
