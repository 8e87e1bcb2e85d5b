package etcd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// Host is what this package needs of the machine: where a path of the plan really lies, and durable small files.
type Host interface {
	// Path is the real path of one on the node.
	Path(path string) (string, error)
	// WriteFile replaces a file durably: after it returns, a power cut leaves the new content.
	WriteFile(path string, data []byte, mode fs.FileMode) error
}

// Keeper prepares the members of this node.
type Keeper struct {
	Records  store.Records
	Host     Host
	Instance string        // this instance's id
	Poll     time.Duration // between two looks at a record that somebody else must change; 0: 2 s
	Logger   *slog.Logger
}

// Prepare decides about a member and returns etcd's configuration file, complete. It waits, under ctx, for what may
// change by itself, and fails with status.ReasonEtcdBlocked where only the operator can help.
func (k *Keeper) Prepare(ctx context.Context, member plan.Etcd) ([]byte, error) {
	for {
		seen, version, err := k.observe(ctx, member)
		if err != nil {
			return nil, fmt.Errorf("etcd %s: %w", member.Name, err)
		}
		action := Decide(seen)
		k.Logger.Info("etcd decision", "etcd", member.Name, "verdict", action.Verdict, "why", action.Why)
		switch action.Verdict {
		case Start:
			return k.existing(member, seen)
		case Resume:
			return k.begin(member, seen.Record)
		case Create:
			record, err := k.create(ctx, member, version)
			if errors.Is(err, store.ErrConflict) {
				continue // somebody was faster: decide again on what they wrote
			}
			if err != nil {
				return nil, fmt.Errorf("etcd %s: create: %w", member.Name, err)
			}
			return k.begin(member, record)
		case Stop:
			return nil, status.Fail(status.ReasonEtcdBlocked, action.Hint, fmt.Errorf("etcd %s: %s", member.Name, action.Why))
		}
		if err := k.wait(ctx, member.Name, action); err != nil {
			return nil, err
		}
	}
}

func (k *Keeper) wait(ctx context.Context, name string, action Action) error {
	defer status.Waiting(ctx, "etcd "+name, action.Why)()
	poll := k.Poll
	if poll == 0 {
		poll = 2 * time.Second
	}
	select {
	case <-time.After(poll):
		return nil
	case <-ctx.Done():
		return status.Fail(status.ReasonEtcdBlocked, action.Hint,
			fmt.Errorf("etcd %s: %s: %w", name, action.Why, context.Cause(ctx)))
	}
}

// observe gathers the facts. Its error is about this machine; what the store does not tell is a fact.
func (k *Keeper) observe(ctx context.Context, member plan.Etcd) (Facts, store.Version, error) {
	seen := Facts{Self: k.Instance}
	data, err := k.Host.Path(dataDir(member))
	if err != nil {
		return seen, "", err
	}
	if seen.Data, err = exists(filepath.Join(data, "member")); err != nil {
		return seen, "", err
	}
	if seen.Marker, err = k.readMarker(member); err != nil {
		return seen, "", err
	}
	raw, version, err := k.Records.Get(ctx, Key(member.Name))
	switch {
	case errors.Is(err, store.ErrAbsent):
	case err != nil:
		seen.RecordUnknown = err
	default:
		if seen.Record, err = ParseLineage(raw); err != nil {
			seen.RecordUnknown = err
		}
	}
	if !seen.Data && seen.Record == nil && seen.RecordUnknown == nil {
		found, err := k.Records.List(ctx, "etcd/"+member.Name+"/backups/", 1)
		seen.Backups, seen.BackupsUnknown = len(found) > 0, err
	}
	return seen, version, nil
}

func (k *Keeper) create(ctx context.Context, member plan.Etcd, was store.Version) (*Lineage, error) {
	if err := k.selfTest(ctx, member.Name); err != nil {
		return nil, err
	}
	uid, nonce := token(), token()
	record := &Lineage{
		UID: uid, Generation: 1, State: Creating, Token: uid + "-g1",
		Holder:  Holder{Instance: k.Instance, Nonce: nonce},
		Members: []Member{{Name: member.Member, Instance: k.Instance, PeerURL: member.PeerURL}},
	}
	return record, k.put(ctx, member.Name, record, was)
}

// put writes a record and takes a conflict for success when the record in place is the very one: the SDK may have
// retried a write whose response was lost.
func (k *Keeper) put(ctx context.Context, cluster string, record *Lineage, was store.Version) error {
	data, err := record.encode()
	if err != nil {
		return err
	}
	_, err = k.Records.Put(ctx, Key(cluster), data, was)
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	raw, _, readErr := k.Records.Get(ctx, Key(cluster))
	if readErr != nil {
		return readErr
	}
	if now, parseErr := ParseLineage(raw); parseErr == nil && now.Holder == record.Holder {
		return nil
	}
	return err
}

// selfTest finds out whether the store honours conditional writes: some S3-compatible ones ignore the header, and then
// two masters could both create a cluster.
func (k *Keeper) selfTest(ctx context.Context, cluster string) error {
	key := "etcd/" + cluster + "/selftest-" + token()
	if _, err := k.Records.Put(ctx, key, []byte("1"), ""); err != nil {
		return fmt.Errorf("self-test of conditional writes: %w", err)
	}
	_, second := k.Records.Put(ctx, key, []byte("2"), "")
	if err := k.Records.Delete(ctx, key); err != nil {
		k.Logger.Warn("the self-test object stays in the store", "key", key, "error", err)
	}
	if errors.Is(second, store.ErrConflict) {
		return nil
	}
	if second != nil {
		return fmt.Errorf("self-test of conditional writes: %w", second)
	}
	return status.Fail(status.ReasonEtcdBlocked, "use a store that honours If-None-Match, such as S3",
		errors.New("the store ignores If-None-Match, so it cannot keep two masters from creating a cluster each"))
}

// begin marks the data directory and returns the configuration of the first member.
func (k *Keeper) begin(member plan.Etcd, record *Lineage) ([]byte, error) {
	self := record.Members[0]
	marker := Marker{UID: record.UID, Generation: record.Generation, Member: self.Name, Token: record.Token}
	data, err := json.MarshalIndent(marker, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := k.Host.WriteFile(markerPath(member), append(data, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("etcd %s: marker: %w", member.Name, err)
	}
	return k.config(member, marker, "new")
}

func (k *Keeper) existing(member plan.Etcd, seen Facts) ([]byte, error) {
	return k.config(member, *seen.Marker, "existing")
}

func (k *Keeper) readMarker(member plan.Etcd) (*Marker, error) {
	path, err := k.Host.Path(markerPath(member))
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var marker Marker
	if err := json.Unmarshal(data, &marker); err != nil {
		return nil, status.Fail(status.ReasonEtcdBlocked, "restore the file, or move it and the data away",
			fmt.Errorf("%s: %w", path, err))
	}
	if marker.UID == "" || marker.Generation < 1 || marker.Member == "" {
		return nil, status.Fail(status.ReasonEtcdBlocked, "restore the file, or move it and the data away",
			fmt.Errorf("%s: incomplete", path))
	}
	return &marker, nil
}

// The member's directory holds etcd's data and, beside it, the marker: a volume that moves takes both along.
func dataDir(member plan.Etcd) string    { return filepath.Join(member.DataDir, "data") }
func markerPath(member plan.Etcd) string { return filepath.Join(member.DataDir, "member.json") }

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func token() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails: crypto/rand aborts the process instead
	return hex.EncodeToString(raw)
}
