package status

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestPeersTextGolden(t *testing.T) {
	now := bootStart.Add(2 * time.Hour)
	for name, view := range map[string]PeersView{
		"wide": {}, "100": {Width: 100}, "80": {Width: 80}, "40": {Width: 40}, "colour": {Color: true},
		"minions": {Roles: []string{"minion"}, States: []string{"alive"}}, "nobody": {Roles: []string{"nobody"}},
	} {
		text := fullPeers().text(view, now)
		golden(t, "peers-"+name+".txt", text)
		if strings.Contains(string(text), "\x1b[2J") {
			t.Errorf("%s: what a node says of itself reaches the terminal", name)
		}
		if view.Width < 80 {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if utf8.RuneCountInString(line) > view.Width+1 {
				t.Errorf("%s: longer than the terminal is wide: %s", name, line)
			}
		}
	}
	golden(t, "peers-stale.txt", tinyPeers().text(PeersView{}, now))
	golden(t, "peers-none.txt", (&Peers{Written: now}).text(PeersView{}, now))
}

// Whatever is left out of a narrow terminal, no word of two lines begins in different columns.
func TestPeersStayAligned(t *testing.T) {
	p := fullPeers()
	for len(p.Peers) < 3000 {
		p.Peers = append(p.Peers, p.Peers[:9]...)
	}
	for _, width := range []int{0, 80, 120} {
		head, rest, _ := strings.Cut(string(p.text(PeersView{Width: width}, at(7200))), "\n")
		state := strings.Index(head, "STATE")
		rows, _, _ := strings.Cut(rest, "\n\n")
		lines := strings.Split(rows, "\n")
		if len(lines) != len(p.Peers) {
			t.Fatalf("%d lines for %d nodes", len(lines), len(p.Peers))
		}
		for _, line := range lines {
			word, _, _ := strings.Cut(line[state:], " ")
			if line[state-1] != ' ' || !strings.Contains(" alive suspect dead left ", " "+word+" ") {
				t.Fatalf("at %d columns, %q is where the state is to be:\n%s\n%s", width, word, head, line)
			}
		}
	}
}

func TestPeersKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	if _, err := ReadPeers(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is none: %v", err)
	}
	p, want := fullPeers(), fullPeers()
	p.Version, want.Peers[8].Addresses = 0, []string{}
	if err := p.Save(path); err != nil {
		t.Fatal(err)
	}
	read, err := ReadPeers(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, read); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for content, want := range map[string]string{
		`{"version": 2}`: "peers.json: version 2, this binary reads 1 to 1 (use the rekindle binary",
		`{}`:             "version 0",
		`{"version"`:     "peers.json: unexpected end of JSON input",
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPeers(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", content, err, want)
		}
	}
}

func TestPeersStale(t *testing.T) {
	p := fullPeers()
	for age, want := range map[time.Duration]bool{-time.Hour: false, 0: false, time.Minute: false, time.Minute + 1: true} {
		if got := p.stale(p.Written.Add(age)); got != want {
			t.Errorf("after %s: %t", age, got)
		}
	}
}

// Whatever is in the file, the page is made of lines without control characters, one for each node.
func FuzzPeers(f *testing.F) {
	seed, err := json.Marshal(fullPeers())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"version":1,"peers":[{"instance":"\u202e\n\u0007","addresses":null,"since":"0001-01-01T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePeers(data)
		if err != nil {
			return
		}
		p.Written = bootStart
		text := string(p.text(PeersView{Width: 80}, bootStart))
		for _, r := range text {
			if r != '\n' && (r < ' ' || r == 0x7f || r == 0x202e) {
				t.Fatalf("%q", text)
			}
		}
		table, _, _ := strings.Cut(text, "\n\n")
		if got := strings.Count(table, "\n"); got != len(p.Peers) {
			t.Fatalf("%d lines for %d nodes: %q", got, len(p.Peers), text)
		}
	})
}
