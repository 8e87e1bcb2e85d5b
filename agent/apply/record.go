package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"rekindle/agent/plan"
)

// RecordPath is where the engine keeps what it did to the machine.
const RecordPath = "/var/lib/rekindle/applied.json"

const recordVersion = 1

// record is what earlier applies own, so that what a later plan drops can be removed, and the digests with which the
// units run. It is written before anything is changed, holding both what is owned and what is about to be.
type record struct {
	Version int `json:"version"`
	// Cut is set while an apply runs. An apply that finds it cleans up, and has systemd read its unit files.
	Cut    bool                  `json:"cut,omitempty"`
	Dirs   map[string]ownedDir   `json:"dirs,omitempty"`
	Files  map[string]ownedFile  `json:"files,omitempty"`
	Assets map[string]ownedAsset `json:"assets,omitempty"`
	Hosts  bool                  `json:"hosts,omitempty"` // lines in the hosts file
	Etcd   map[string]string     `json:"etcd,omitempty"`  // digest of the plan's member, by cluster
	Units  map[string]ownedUnit  `json:"units,omitempty"`
}

type ownedDir struct {
	Mode plan.Mode `json:"mode"`
	Made bool      `json:"made,omitempty"` // by the engine, which then may remove it
}

type ownedFile struct {
	SHA256 string    `json:"sha256"`
	Mode   plan.Mode `json:"mode"`
}

// sum is what sums had for the file when it was written.
func (f ownedFile) sum() string { return fmt.Sprintf("%s %04o", f.SHA256, uint32(f.Mode)) }

type ownedAsset struct {
	SHA256  string    `json:"sha256"`
	Mode    plan.Mode `json:"mode,omitempty"`
	Stamp   Stamp     `json:"stamp,omitzero"` // zero until the file is durable
	Archive bool      `json:"archive,omitempty"`
	// Entries are what an archive put below the directory, by relative path.
	Entries map[string]ownedEntry `json:"entries,omitempty"`
}

type ownedEntry struct {
	Kind  string    `json:"kind"`
	Mode  plan.Mode `json:"mode"`
	Link  string    `json:"link,omitempty"`
	Stamp Stamp     `json:"stamp,omitzero"`
}

type ownedUnit struct {
	Digest     string `json:"digest,omitempty"` // of its inputs at its last successful start; empty: start it again
	Definition string `json:"definition"`       // the part of the digest that a reload does not take up
	Path       string `json:"path,omitempty"`   // its unit file, when that is ours
}

func newRecord() *record {
	return &record{
		Version: recordVersion,
		Dirs:    map[string]ownedDir{},
		Files:   map[string]ownedFile{},
		Assets:  map[string]ownedAsset{},
		Etcd:    map[string]string{},
		Units:   map[string]ownedUnit{},
	}
}

func parseRecord(data []byte) (*record, error) {
	r := newRecord()
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("version %d, this agent knows %d", r.Version, recordVersion)
	}
	for path := range r.paths() {
		if err := checkPath(path); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// paths is every path that the record owns, to be removed one day.
func (r *record) paths() map[string]bool {
	paths := map[string]bool{}
	for p := range r.Dirs {
		paths[p] = true
	}
	for p := range r.Files {
		paths[p] = true
	}
	for p, asset := range r.Assets {
		paths[p] = true
		for name := range asset.Entries {
			paths[p+"/"+name] = true
		}
	}
	return paths
}

func (r *record) clone() *record {
	c := *r
	c.Dirs = maps.Clone(r.Dirs)
	c.Files = maps.Clone(r.Files)
	c.Assets = maps.Clone(r.Assets)
	c.Etcd = maps.Clone(r.Etcd)
	c.Units = maps.Clone(r.Units)
	return &c
}

// load reads the record. One that cannot be understood is set aside and a new one begun, which owns nothing: what an
// earlier plan left behind stays, since nobody can say any more whose it is.
func (a *pass) load(ctx context.Context) error {
	a.rec = newRecord()
	data, err := a.Host.Read(RecordPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	rec, err := parseRecord(data)
	if err == nil {
		a.rec, a.saved = rec, data
		return nil
	}
	aside := fmt.Sprintf("%s.aside-%s", RecordPath, time.Now().UTC().Format("20060102T150405Z"))
	a.warn(fmt.Sprintf("%s: %v: kept as %s and begun anew; files that an earlier plan left are not removed", RecordPath, err, aside))
	if a.dry {
		return nil
	}
	_, err = a.Host.Write(ctx, File{Path: aside, Mode: 0o600, Content: data})
	return err
}

// save writes the record, if it differs from the one on disk.
func (a *pass) save(ctx context.Context) error {
	data, err := json.MarshalIndent(a.rec, "", " ")
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	data = append(data, '\n')
	if a.dry || bytes.Equal(data, a.saved) {
		return nil
	}
	for _, dir := range above(RecordPath) { // the agent's own, and nobody's to remove
		entry, err := a.Host.Look(dir)
		if err != nil {
			return fmt.Errorf("record: %w", err)
		}
		if entry.Kind != KindNone {
			continue
		}
		if err := a.Host.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	if _, err := a.Host.Write(ctx, File{Path: RecordPath, Mode: 0o600, Content: data}); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	a.saved = data
	return nil
}

// begin makes the record say that an apply runs, with all that it is about to own.
func (a *pass) begin(ctx context.Context) error {
	a.rec.Cut = true
	return a.save(ctx)
}
