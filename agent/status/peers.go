package status

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// Peers is the content of peers.json: every node of the cluster that this one knows of, in the order of role and instance.
type Peers struct {
	Version int       `json:"version"` // PeersVersion
	Written time.Time `json:"written"`
	Self    string    `json:"self"` // instance
	Peers   []Peer    `json:"peers"`
}

// PeersVersion is raised when a key of Peers changes its meaning or goes.
const PeersVersion = 1

// Peer is one node. State, health and mode are package discovery's words.
type Peer struct {
	Instance  string    `json:"instance"`
	Node      string    `json:"node,omitempty"`
	Role      string    `json:"role,omitempty"`
	Zone      string    `json:"zone,omitempty"`
	Addresses []string  `json:"addresses"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"` // of the state
	API       string    `json:"api,omitempty"`
	Etcd      string    `json:"etcd,omitempty"`
	Mode      string    `json:"mode"`
	Through   string    `json:"through,omitempty"`
	Agent     string    `json:"agent,omitempty"` // its version
}

// Save replaces the file, and makes its folder. It sees to the version, and to lists that are empty.
func (p Peers) Save(path string) error {
	p.Version, p.Peers = PeersVersion, append([]Peer{}, p.Peers...)
	for i := range p.Peers {
		p.Peers[i].Addresses = append([]string{}, p.Peers[i].Addresses...)
	}
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return replace(path, append(data, '\n'))
}

// ReadPeers reads what Save wrote; fs.ErrNotExist when the node's agent has not looked for others yet.
func ReadPeers(path string) (*Peers, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := parsePeers(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

func parsePeers(data []byte) (*Peers, error) {
	p := new(Peers)
	if err := json.Unmarshal(data, p); err != nil {
		return nil, err
	}
	if p.Version < 1 || p.Version > PeersVersion {
		return nil, fmt.Errorf("version %d, this binary reads 1 to %d (use the rekindle binary that runs as the agent)",
			p.Version, PeersVersion)
	}
	return p, nil
}

// stalePeers is how old the file may be before it is history.
const stalePeers = time.Minute

// Stale tells whether nobody keeps the file any more.
func (p *Peers) Stale() bool { return p.stale(time.Now()) }

func (p *Peers) stale(now time.Time) bool { return now.Sub(p.Written) > stalePeers }

// Filter is p with the nodes of these roles, and of these states, alone; of all, where the list is empty.
func (p *Peers) Filter(roles, states []string) *Peers {
	among := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
	some := *p
	some.Peers = []Peer{}
	for _, peer := range p.Peers {
		if among(roles, peer.Role) && among(states, peer.State) {
			some.Peers = append(some.Peers, peer)
		}
	}
	return &some
}
