package gossip

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"rekindle/agent/discovery"
)

const (
	maxKnown     = 64       // peers on disk: masters, and then others
	maxKnownSize = 32 << 10 // bytes of the file
)

// known is a peer as the next start of the agent finds it.
type known struct {
	Instance string         `json:"instance"`
	At       netip.AddrPort `json:"at"`
	Role     string         `json:"role,omitempty"`
}

// knownFile is the content of Options.State. Fields are only ever added.
type knownFile struct {
	Cluster string  `json:"cluster"`
	Peers   []known `json:"peers"`
}

// load reads the peers that the last process knew. They are hints: a file that is not there, not to be understood or of
// another cluster is the same as an empty one.
func (g *Gossip) load() map[netip.AddrPort]known {
	peers := map[netip.AddrPort]known{}
	if g.state == "" {
		return peers
	}
	data, err := os.ReadFile(g.state)
	if errors.Is(err, fs.ErrNotExist) {
		return peers
	}
	var all []known
	if err == nil {
		all, err = parseKnown(g.cluster, data)
	}
	if err != nil {
		g.log.Warn("gossip: the last peers are ignored; seeds take their place", "path", g.state, "err", err)
	}
	for _, k := range all {
		if k.At != g.at && k.Instance != g.self.peer.Instance {
			peers[k.At] = k
		}
	}
	return peers
}

func parseKnown(cluster string, data []byte) ([]known, error) {
	if len(data) > maxKnownSize {
		return nil, fmt.Errorf("%d bytes: at most %d", len(data), maxKnownSize)
	}
	var file knownFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	if file.Cluster != cluster {
		return nil, fmt.Errorf("it is of cluster %q", file.Cluster)
	}
	if len(file.Peers) > maxKnown {
		return nil, fmt.Errorf("%d peers: at most %d", len(file.Peers), maxKnown)
	}
	for _, k := range file.Peers {
		if err := checkAddress(k.At.Addr()); err != nil || k.At.Port() == 0 {
			return nil, fmt.Errorf("peer %q at %s: not an address to join at", k.Instance, k.At)
		}
		if k.Instance == "" || len(k.Instance) > maxName || !word(k.Instance) || len(k.Role) > maxWord || !word(k.Role) {
			return nil, fmt.Errorf("peer %q with role %q: not of letters, digits and . _ + -", k.Instance, k.Role)
		}
	}
	return file.Peers, nil
}

// save writes the peers that the next process should try: masters first, the living before the missing, and then those of
// the last process that have not answered yet. It does nothing while there is nothing new to say.
func (g *Gossip) save() {
	if g.state == "" {
		return
	}
	peers := g.members.known()
	g.mu.Lock()
	for _, k := range g.disk {
		if !slices.ContainsFunc(peers, func(p known) bool { return p.At == k.At || p.Instance == k.Instance }) {
			peers = append(peers, k)
		}
	}
	g.mu.Unlock()
	peers = peers[:min(len(peers), maxKnown)]
	if len(peers) == 0 {
		return
	}
	data, err := json.MarshalIndent(knownFile{g.cluster, peers}, "", "  ")
	if err == nil {
		data = append(data, '\n')
		if was, _ := os.ReadFile(g.state); bytes.Equal(was, data) {
			return
		}
		err = os.MkdirAll(filepath.Dir(g.state), 0o700)
	}
	if err == nil {
		err = renameio.WriteFile(g.state, data, 0o600, renameio.WithTempDir(filepath.Dir(g.state)))
	}
	if err != nil {
		g.log.Warn("gossip: peers are not kept for the next start", "path", g.state, "err", err)
	}
}

// known are the other peers that live or are missing, in the order in which they are worth keeping.
func (m *members) known() []known {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*member
	for _, is := range m.all {
		if is.state != discovery.Left && is.peer.Instance != m.self {
			all = append(all, is)
		}
	}
	rank := func(is *member) int {
		switch {
		case is.living() && is.peer.APIPort != 0:
			return 0
		case is.living():
			return 1
		case is.peer.APIPort != 0:
			return 2
		}
		return 3
	}
	slices.SortFunc(all, func(a, b *member) int {
		if by := rank(a) - rank(b); by != 0 {
			return by
		}
		return bytes.Compare([]byte(a.peer.Instance), []byte(b.peer.Instance))
	})
	var peers []known
	for _, is := range all[:min(len(all), maxKnown)] {
		peers = append(peers, known{is.peer.Instance, is.at, is.peer.Role})
	}
	return peers
}
