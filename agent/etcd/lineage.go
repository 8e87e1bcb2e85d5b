// Package etcd decides which etcd data is the true one, and prepares the member that this node carries.
//
// The truth is one record in the store, lineage.json, changed by compare-and-swap only. Decide is a pure function from
// what was observed to what may be done; everything ambiguous means wait or stop, never create. What this package does
// not know how to do safely it refuses: docs/decisions/003-etcd-first-boot.md says what that is today.
package etcd

import (
	"encoding/json"
	"fmt"
)

// The states of a lineage.
const (
	Creating = "creating" // its holder may start the first member; nobody else may start anything
	Running  = "running"  // the cluster has served: whoever finds no data of it must never create
)

// Lineage is the record that says which etcd cluster is the true one.
type Lineage struct {
	UID        string   `json:"uid"`
	Generation int      `json:"generation"` // grows with every restore and rescue, from 1
	State      string   `json:"state"`
	Holder     Holder   `json:"holder"`
	Token      string   `json:"token"` // etcd's initial-cluster-token; holds the generation, so generations cannot merge
	Members    []Member `json:"members"`
}

// Holder is who changed the record last. The nonce tells its own retried write from another's.
type Holder struct {
	Instance string `json:"instance"`
	Nonce    string `json:"nonce"`
}

// Member is a voter or learner of the cluster. The record is written ahead of etcd, so none is ever missing here.
type Member struct {
	Name     string `json:"name"`
	Instance string `json:"instance"`
	PeerURL  string `json:"peerURL"`
}

// Key is where the lineage of a cluster lies in the store.
func Key(cluster string) string { return "etcd/" + cluster + "/lineage.json" }

// ParseLineage reads a record; one that makes no sense is an error, never an absent record.
func ParseLineage(data []byte) (*Lineage, error) {
	var record Lineage
	if err := json.Unmarshal(data, &record); err != nil {
		return nil, fmt.Errorf("lineage: %w", err)
	}
	switch {
	case record.UID == "":
		return nil, fmt.Errorf("lineage: uid is empty")
	case record.Generation < 1:
		return nil, fmt.Errorf("lineage: generation %d: must be at least 1", record.Generation)
	case record.Token == "":
		return nil, fmt.Errorf("lineage: token is empty")
	case record.Holder.Instance == "":
		return nil, fmt.Errorf("lineage: holder is empty")
	case len(record.Members) == 0:
		return nil, fmt.Errorf("lineage: no members")
	}
	return &record, nil
}

func (l *Lineage) encode() ([]byte, error) {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("lineage: %w", err)
	}
	return append(data, '\n'), nil
}

// Marker lies beside a member's data and says which lineage the data belongs to. It is written before etcd starts.
type Marker struct {
	UID        string `json:"uid"`
	Generation int    `json:"generation"`
	Member     string `json:"member"` // the member's name, given once
	Token      string `json:"token"`
}

func (m Marker) of(l *Lineage) bool { return m.UID == l.UID && m.Generation == l.Generation }
