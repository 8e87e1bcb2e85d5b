package status

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2"
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
	Zone  string    `json:"zone,omitempty"` // id and name
	State string    `json:"state"`          // as package discovery/route53 names it
	Error string    `json:"error,omitempty"`
	Hint  string    `json:"hint,omitempty"`
	Wrote time.Time `json:"wrote,omitzero"` // the last change of this node's
	Next  time.Time `json:"next,omitzero"`  // when it is tried again
}

// Discovered says how the others are found.
func (b *Board) Discovered(d Discovery) {
	b.update(func(s *Status) { s.Discovery = &d })
}

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

// Save replaces the file.
func (p Peers) Save(path string) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return renameio.WriteFile(path, append(data, '\n'), 0o644)
}

// ReadPeers reads what Save wrote; fs.ErrNotExist when the node's agent has not looked for others yet.
func ReadPeers(path string) (*Peers, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := new(Peers)
	if err := json.Unmarshal(data, p); err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	if p.Version != PeersVersion {
		return nil, fmt.Errorf("%s is of version %d, this binary reads %d", path, p.Version, PeersVersion)
	}
	return p, nil
}
