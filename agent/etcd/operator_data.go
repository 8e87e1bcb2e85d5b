package etcd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/schema"

	"rekindle/agent/etcd/datadir"
	"rekindle/agent/etcd/peers"
)

// Holding is what an operator finds in a member's directory.
type Holding struct {
	Found   datadir.Found
	Self    string         // the name that sound data knows its own member by
	Members []peers.Member // as sound data lists them
}

// Hold looks into a member's directory, as the agent does before a start, and reads whose data it is.
func Hold(ctx context.Context, dir string, o datadir.Options) (Holding, error) {
	found, err := datadir.Inspect(ctx, dir, o)
	h := Holding{Found: found}
	if err != nil || found.State != datadir.Sound {
		return h, err
	}
	// The data was found sound by a process of its own, so reading it once more here is safe.
	if h.Self, err = nameIn(ctx, dir); err != nil {
		return h, err
	}
	h.Members, err = membersIn(filepath.Join(datadir.Data(dir), "member", "snap", "db"))
	return h, err
}

// nameIn is the name that data has for its own member; empty while it knows none.
func nameIn(ctx context.Context, dir string) (string, error) {
	var said bytes.Buffer
	if err := datadir.Offline(ctx, datadir.JobCheck, dir, &said); err != nil {
		return "", err
	}
	_, line, _ := bytes.Cut(said.Bytes(), []byte("\n"))
	var seen struct{ Member, Error string }
	if err := json.Unmarshal(line, &seen); err != nil {
		return "", fmt.Errorf("etcd data in %s: %w", dir, err)
	}
	if seen.Error != "" {
		return "", fmt.Errorf("etcd data in %s: %s", dir, seen.Error)
	}
	return seen.Member, nil
}

// membersIn reads the members that a database lists. No etcd may run on it.
func membersIn(path string) (all []peers.Member, err error) {
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return all, db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(schema.Members.Name())
		if bucket == nil {
			return fmt.Errorf("%s lists no members", path)
		}
		return bucket.ForEach(func(_, raw []byte) error {
			var m struct {
				ID         uint64   `json:"id"`
				Name       string   `json:"name"`
				PeerURLs   []string `json:"peerURLs"`
				ClientURLs []string `json:"clientURLs"`
				IsLearner  bool     `json:"isLearner"`
			}
			if err := json.Unmarshal(raw, &m); err != nil {
				return fmt.Errorf("%s: members: %w", path, err)
			}
			all = append(all, peers.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.IsLearner})
			return nil
		})
	})
}
