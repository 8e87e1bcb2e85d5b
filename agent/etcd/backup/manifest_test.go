package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/store"
)

func goodManifest() Manifest {
	digest := strings.Repeat("0a", 32)
	return Manifest{
		Version: 1, Cluster: "main", UID: "u", Generation: 2, Member: "m", Taken: noon, ClusterID: "c", Members: 3,
		EtcdVersion: "3.6.16", StorageVersion: "3.6.0", Revision: 70, CompactRevision: 20, Keys: 5,
		Size: ChunkSize + 4096, SHA256: digest, Stored: 30,
		Chunks: []Chunk{{0, 20, digest, digest}, {20, 10, digest, digest}},
	}
}

func TestManifestRoundTrip(t *testing.T) {
	m := goodManifest()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	for want, change := range map[string]func(*Manifest){
		"cluster":             func(m *Manifest) { m.Cluster = "a/b" },
		"uid":                 func(m *Manifest) { m.UID = "" },
		"generation":          func(m *Manifest) { m.Generation = 0 },
		"member is":           func(m *Manifest) { m.Member = "" },
		"members":             func(m *Manifest) { m.Members = 0 },
		"taken":               func(m *Manifest) { m.Taken = m.Taken.AddDate(-2000, 0, 0) },
		"etcdVersion":         func(m *Manifest) { m.EtcdVersion = "" },
		"revision 0":          func(m *Manifest) { m.Revision = 0 },
		"compactRevision 71":  func(m *Manifest) { m.CompactRevision = 71 },
		"compactRevision -1":  func(m *Manifest) { m.CompactRevision = -1 },
		"keys":                func(m *Manifest) { m.Keys = -1 },
		"sha256":              func(m *Manifest) { m.SHA256 = strings.ToUpper(m.SHA256) },
		"size 0":              func(m *Manifest) { m.Size, m.Chunks = 0, nil },
		"size 8392705":        func(m *Manifest) { m.Size++ },
		"size 9007199254":     func(m *Manifest) { m.Size = 9007199254740992 },
		"1 chunks":            func(m *Manifest) { m.Chunks = m.Chunks[:1] },
		"chunk 0 begins":      func(m *Manifest) { m.Chunks[0].Offset = 1 },
		"chunk 1 begins":      func(m *Manifest) { m.Chunks[1].Offset = 19 },
		"chunk 1: length":     func(m *Manifest) { m.Chunks[1].Length = 0 },
		"chunk 0: length 134": func(m *Manifest) { m.Chunks[0].Length = 134217728 },
		"chunk 1: a digest":   func(m *Manifest) { m.Chunks[1].BLAKE3 = "0g" + m.Chunks[1].BLAKE3[2:] },
		"the chunks end":      func(m *Manifest) { m.Stored++ },
	} {
		m := goodManifest()
		change(&m)
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
		if _, err := m.Encode(); err == nil {
			t.Errorf("%s: encoded", want)
		}
	}
	m := goodManifest()
	good, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for want, data := range map[string][]byte{
		"update":        nil,
		"unknown field": bytes.Replace(good, []byte(`"uid"`), []byte(`"extra":1,"uid"`), 1),
		"after top":     append(bytes.Clone(good), "{}"...),
		"more than":     bytes.Repeat([]byte(" "), maxManifest+1),
		"version 2":     []byte(`{"version":2,"new":"field"}`),
		"EOF":           good[:len(good)/2],
		"cannot":        []byte(`{"version":1,"uid":3}`),
	} {
		if want == "update" {
			data, want = bytes.Replace(good, []byte(`"version":1`), []byte(`"version":9`), 1), "or a newer one"
		}
		if want == "EOF" {
			want = "unexpected end"
		}
		if _, err := ParseManifest(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

// Whatever is accepted is consistent, and is stored as it was read.
func FuzzParseManifest(f *testing.F) {
	m := goodManifest()
	data, err := m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		second, err := ParseManifest(again)
		if err != nil || !cmp.Equal(m, second) {
			t.Fatalf("read again: %v\n%s", err, cmp.Diff(m, second))
		}
		var in, out int64
		for i, c := range m.Chunks {
			offset, length := m.Span(i)
			if offset != in || length < 1 || length > ChunkSize || c.Offset != out {
				t.Fatalf("chunk %d of %+v", i, m)
			}
			in, out = in+length, out+c.Length
		}
		if in != m.Size || out != m.Stored {
			t.Fatalf("%d of %d bytes in %d of %d", in, m.Size, out, m.Stored)
		}
	})
}

// A manifest that lies in another place than it says, or beside another snapshot, is damage; one that is gone is not.
func TestReadManifest(t *testing.T) {
	s := newStore(t)
	m := goodManifest()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	entry := Entry{Cluster: "main", ID: ID(2, noon, 70), Generation: 2, Revision: 70, Snapshot: 30}
	if _, err := ReadManifest(t.Context(), s, entry); !errors.Is(err, store.ErrAbsent) || errors.Is(err, ErrDamaged) {
		t.Errorf("absent: %v", err)
	}
	moved, larger := entry, entry
	moved.ID, larger.Snapshot = ID(2, noon, 71), 31
	for _, e := range []Entry{entry, moved} {
		if _, err := s.Dir.Put(t.Context(), e.ManifestKey(), data, ""); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ReadManifest(t.Context(), s, entry); err != nil || !cmp.Equal(got, m) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, e := range []Entry{moved, larger} {
		if _, err := ReadManifest(t.Context(), s, e); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", e.ID, err)
		}
	}
	s.open = func(context.Context, string, int64, int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(slices.Repeat([]byte(" "), maxManifest+1))), nil
	}
	if _, err := ReadManifest(t.Context(), s, entry); !errors.Is(err, ErrDamaged) {
		t.Errorf("endless: %v", err)
	}
}
