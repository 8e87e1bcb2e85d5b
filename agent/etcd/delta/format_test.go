package delta

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

var same = cmpopts.EquateEmpty()

func TestFormatKeepsADelta(t *testing.T) {
	for seed := range 40 {
		d := sample(random(seed), 1+int64(seed), seed%40)
		raw := encode(t, d)
		back, err := Read(iotest.OneByteReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if diff := cmp.Diff(d, back, same); diff != "" {
			t.Fatalf("seed %d: what was read differs from what was written:\n%s", seed, diff)
		}
		if !bytes.Equal(raw, encode(t, back)) {
			t.Fatalf("seed %d: the same delta gave other bytes", seed)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	put := func(rev int64) mvccpb.Event {
		return mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), CreateRevision: 1, ModRevision: rev, Version: 1}}
	}
	drop := func(rev int64, version int64) mvccpb.Event {
		return mvccpb.Event{Type: mvccpb.DELETE, Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: rev, Version: version}}
	}
	large := put(6)
	large.Kv.Value = make([]byte, MaxSize)
	for name, d := range map[string]Delta{
		"a hole":                   {Changes: []mvccpb.Event{put(6), put(8)}, Header: Header{Base: 5, Last: 8}},
		"backwards":                {Changes: []mvccpb.Event{put(6), put(7), put(6)}, Header: Header{Base: 5, Last: 7}},
		"begins at the base":       {Changes: []mvccpb.Event{put(5), put(6)}, Header: Header{Base: 5, Last: 6}},
		"begins late":              {Changes: []mvccpb.Event{put(7)}, Header: Header{Base: 5, Last: 7}},
		"ends early":               {Changes: []mvccpb.Event{put(6)}, Header: Header{Base: 5, Last: 7}},
		"ends late":                {Changes: []mvccpb.Event{put(6), put(7)}, Header: Header{Base: 5, Last: 6}},
		"last before base":         {Header: Header{Base: 5, Last: 4}},
		"no base":                  {Header: Header{}},
		"no key":                   {Changes: []mvccpb.Event{{Kv: &mvccpb.KeyValue{ModRevision: 6, CreateRevision: 1, Version: 1}}}, Header: Header{Base: 5, Last: 6}},
		"nothing":                  {Changes: []mvccpb.Event{{}}, Header: Header{Base: 5, Last: 6}},
		"kind":                     {Changes: []mvccpb.Event{{Type: 2, Kv: put(6).Kv}}, Header: Header{Base: 5, Last: 6}},
		"a deletion with contents": {Changes: []mvccpb.Event{drop(6, 1)}, Header: Header{Base: 5, Last: 6}},
		"too large":                {Changes: []mvccpb.Event{large}, Header: Header{Base: 5, Last: 6}},
		"leases out of order":      {Header: Header{Base: 5, Last: 5}, Leases: []Lease{{ID: 2, TTL: 1}, {ID: 1, TTL: 1}}},
		"lease zero":               {Header: Header{Base: 5, Last: 5}, Leases: []Lease{{TTL: 1}}},
		"more left than granted":   {Header: Header{Base: 5, Last: 5}, Leases: []Lease{{ID: 1, TTL: 1, Remaining: 2}}},
	} {
		if err := Write(io.Discard, &d); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: error %v, want ErrDamaged", name, err)
		}
	}
	if err := Write(io.Discard, &Delta{Changes: []mvccpb.Event{put(6), drop(6, 0), put(7)}, Header: Header{Base: 5, Last: 7}}); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestReadNoticesEveryByteAndEveryEnd(t *testing.T) {
	raw := encode(t, sample(random(1), 7, 8))
	for i := range raw {
		if _, err := Read(bytes.NewReader(raw[:i])); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut after %d of %d bytes: error %v, want ErrDamaged", i, len(raw), err)
		}
		bad := bytes.Clone(raw)
		bad[i] ^= 1 << (i % 8)
		if _, err := Read(bytes.NewReader(bad)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d of byte %d: error %v, want ErrDamaged", i%8, i, err)
		}
	}
	if _, err := Read(bytes.NewReader(append(bytes.Clone(raw), 0))); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte too many: error %v, want ErrDamaged", err)
	}
}

// A store that fails says nothing about the delta.
func TestReadTellsTroubleFromDamage(t *testing.T) {
	raw := encode(t, sample(random(2), 7, 300))
	trouble := errors.New("connection reset")
	for _, n := range []int{0, 5, 100, len(raw) / 2, len(raw) - 1, len(raw)} {
		_, err := Read(io.MultiReader(bytes.NewReader(raw[:n]), iotest.ErrReader(trouble)))
		if !errors.Is(err, trouble) || errors.Is(err, ErrDamaged) {
			t.Errorf("after %d bytes: error %v", n, err)
		}
	}
}

// forge makes a file with a good digest around whatever body.
func forge(t testing.TB, header any, body []byte) []byte {
	t.Helper()
	raw, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	file := append(binary.BigEndian.AppendUint32([]byte(magic), uint32(len(raw))), raw...)
	var packed bytes.Buffer
	packer, err := zstd.NewWriter(&packed, zstd.WithWindowSize(maxWindow), zstd.WithZeroFrames(true))
	if err == nil {
		_, err = packer.Write(body)
	}
	if err := errors.Join(err, packer.Close()); err != nil {
		t.Fatal(err)
	}
	file = append(file, packed.Bytes()...)
	digest := blake3.Sum256(file)
	return append(file, digest[:]...)
}

func TestReadIsBounded(t *testing.T) {
	small := appendLeases(nil, nil)
	header := Header{Version: FormatVersion, Base: 1, Last: 2, Events: 1 << 30}
	for name, c := range map[string]struct {
		body  []byte
		limit uint64 // MiB that may be allocated in all; a slice that grows is counted several times
		says  string
	}{
		"a length of 8 EiB":            {binary.AppendUvarint([]byte{0}, 1<<63), 40, "have room"},
		"a length of 200 MiB, no data": {binary.AppendUvarint([]byte{0}, 200<<20), 40, "EOF"},
		"a billion leases":             {binary.AppendUvarint(nil, 1<<30), 40, "cannot be"},
	} {
		h := header
		if strings.Contains(name, "leases") {
			h = Header{Version: FormatVersion, Base: 1, Last: 1}
		}
		file := forge(t, h, c.body)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Read(bytes.NewReader(file))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want ErrDamaged: %s", name, err, c.says)
		}
		if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > c.limit {
			t.Errorf("%s: %d MiB were allocated", name, got)
		}
	}
	if _, err := Read(bytes.NewReader(forge(t, Header{Version: FormatVersion, Base: 1, Last: 1}, append(small, 0)))); !errors.Is(err, ErrDamaged) {
		t.Errorf("something after the leases: error %v", err)
	}
	if _, err := Read(bytes.NewReader(forge(t, Header{Version: FormatVersion, Base: 1, Last: 1}, small))); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// Events that are small as bytes and large in memory.
func TestReadCountsWhatEventsTake(t *testing.T) {
	record, err := appendEvent(nil, &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: 2}})
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat(record, 1000)
	for room, fails := range map[int]bool{1000 * (overhead + 1): true, 1000*(overhead+1) + len(record): false} {
		if _, err := readEvents(bufio.NewReader(bytes.NewReader(body)), 1000, room); (err != nil) != fails {
			t.Errorf("1000 events in %d bytes: error %v", room, err)
		}
	}
}

func TestReadRefusesTheFuture(t *testing.T) {
	raw := forge(t, map[string]any{"version": 2, "shape": "round"}, nil)
	if _, err := Read(bytes.NewReader(raw)); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "update rekindle") {
		t.Errorf("error %v, want the advice to update", err)
	}
	raw = forge(t, map[string]any{"version": 1, "shape": "round"}, nil)
	if _, err := Read(bytes.NewReader(raw)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a field that version 1 does not have: error %v, want ErrDamaged", err)
	}
}

// The bytes of a delta are in the stores of clusters: what was written once must be readable for ever.
func TestReadsWhatWasWrittenBefore(t *testing.T) {
	const path = "testdata/version-1.delta"
	want := sample(random(11), 41, 20)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && os.Getenv("UPDATE") != "" {
		raw, err = encode(t, want), os.WriteFile(path, encode(t, want), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Error(diff)
	}
}

// FuzzRead feeds it files whose digest is good, so that what lies behind is reached.
func FuzzRead(f *testing.F) {
	for seed := range 8 {
		raw := encode(f, sample(random(seed), 3, seed*3))
		f.Add(raw[:len(raw)-digestSize])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = Read(bytes.NewReader(raw))
		digest := blake3.Sum256(raw)
		d, err := Read(bytes.NewReader(append(bytes.Clone(raw), digest[:]...)))
		if err != nil {
			return
		}
		back, err := Read(bytes.NewReader(encode(t, d)))
		if err != nil {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		if diff := cmp.Diff(d, back, same); diff != "" {
			t.Fatal(diff)
		}
	})
}
