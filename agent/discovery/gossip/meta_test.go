package gossip

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/memberlist"

	"rekindle/agent/discovery"
)

var comparable = cmp.Options{
	cmp.AllowUnexported(meta{}), cmpopts.EquateComparable(netip.Addr{}),
}

func TestMetaRoundTrip(t *testing.T) {
	six := peer(1)
	six.Addresses = append(six.Addresses, netip.MustParseAddr("fd00::4"))
	longest := peer(2)
	longest.Node, longest.Zone = strings.Repeat("n", maxName), strings.Repeat("z", maxWord)
	for name, want := range map[string]meta{
		"master": {peer: peer(1), run: 7}, "minion": {peer: peer(9), run: 1 << 31}, "leaving": {peer: peer(1), leaving: true},
		"two addresses": {peer: six}, "long": {peer: longest},
		"bare": {peer: discovery.Peer{Instance: "i", Addresses: []netip.Addr{address(1).Addr()}}},
	} {
		data, err := want.encode("one.example")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := decode("one.example", want.peer.Instance, data)
		if diff := cmp.Diff(want, got, comparable); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		if again, _ := got.encode("one.example"); string(again) != string(data) {
			t.Errorf("%s: equal metadata of different bytes", name)
		}
		if _, err := decode("two.example", want.peer.Instance, data); !errors.Is(err, errCluster) {
			t.Errorf("%s: of another cluster: %v", name, err)
		}
		t.Logf("%s: %d bytes", name, len(data))
	}
}

// sum makes the checksum right again.
func sum(data []byte) []byte {
	binary.BigEndian.PutUint32(data[1:], crc32.Checksum(data[metaHeader:], castagnoli))
	return data
}

func TestMetaOfANewerAgent(t *testing.T) {
	want := meta{peer: peer(1), run: 3}
	data, err := want.encode("one.example")
	if err != nil {
		t.Fatal(err)
	}
	data = sum(append(data, 200, 3, 'n', 'e', 'w'))
	got, err := decode("one.example", instance(1), data)
	if diff := cmp.Diff(want, got, comparable); err != nil || diff != "" {
		t.Errorf("with an unknown field: %v\n%s", err, diff)
	}
	if health(99) != discovery.Unhealthy {
		t.Error("an unknown health reads as something good")
	}
}

func TestMetaRefused(t *testing.T) {
	good := func() []byte {
		data, err := meta{peer: peer(1)}.encode("one.example")
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, data := range map[string][]byte{
		"empty": nil, "short": good()[:4], "cut off": sum(good()[:len(good())-1]), "changed": append(good()[:20], 'x'),
		"format 2":              append([]byte{2}, good()[1:]...),
		"too long":              sum(append(good(), make([]byte, memberlist.MetaMaxSize)...)),
		"a field twice":         sum(append(good(), tagZone, 1, 'z')),
		"no cluster":            sum(good()[:metaHeader]),
		"port of one byte":      sum(append(good()[:metaHeader+16], tagAPIPort, 1, 9)),
		"address of 5 bytes":    sum(append(good(), tagAddress, 5, 1, 2, 3, 4, 5)),
		"0.0.0.0":               sum(append(good(), tagAddress, 4, 0, 0, 0, 0)),
		"link-local":            sum(append(good(), tagAddress, 4, 169, 254, 169, 254)),
		"five addresses":        sum(append(good(), []byte{7, 4, 10, 0, 0, 1, 7, 4, 10, 0, 0, 2, 7, 4, 10, 0, 0, 3, 7, 4, 10, 0, 0, 4}...)),
		"a terminal's sequence": sum(append(good()[:metaHeader+16], tagRole, 2, 27, '[', tagAddress, 4, 10, 0, 0, 1)),
	} {
		if m, err := decode("one.example", instance(1), data); err == nil {
			t.Errorf("%s: reads as %+v", name, m)
		}
	}
	many := peer(1)
	many.Node, many.Zone = strings.Repeat("n", 253), strings.Repeat("z", 63)
	many.Role, many.Version = many.Zone, many.Zone
	for range 3 {
		many.Addresses = append(many.Addresses, netip.MustParseAddr("fd00::4"))
	}
	if data, err := (meta{peer: many}).encode("one.example"); err == nil {
		t.Errorf("%d bytes were encoded", len(data))
	}
	space := peer(1)
	space.Zone = "a b"
	if _, err := (meta{peer: space}).encode("one.example"); err == nil {
		t.Error("a zone with a space was encoded")
	}
}

// FuzzMeta: whatever is read is refused, or can be written and reads the same again.
func FuzzMeta(f *testing.F) {
	for n := range 4 {
		data, err := meta{peer: peer(n + 1), leaving: n == 3}.encode("one.example")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[metaHeader:])
	}
	f.Fuzz(func(t *testing.T, fields []byte) {
		if _, err := decode("one.example", "i-1", fields); err == nil {
			return
		}
		data := sum(append(append([]byte{metaFormat}, 0, 0, 0, 0), fields...))
		m, err := decode("one.example", "i-1", data)
		if err != nil {
			return
		}
		again, err := m.encode("one.example")
		if err != nil {
			t.Fatalf("%+v was read and cannot be written: %v", m, err)
		}
		same, err := decode("one.example", "i-1", again)
		if diff := cmp.Diff(m, same, comparable); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}
