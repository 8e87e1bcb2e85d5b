package bake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/host"
)

// Record is baked.json: what the image holds, for those who launch it. AMIs are tagged with parts of it.
type Record struct {
	Version  int       `json:"version"` // of this format
	Agent    string    `json:"agent"`   // the agent's version
	Time     time.Time `json:"time"`
	Roles    []string  `json:"roles,omitempty"`
	Source   string    `json:"source,omitempty"`   // the store or mirror that the manifest was read from
	Manifest string    `json:"manifest,omitempty"` // its sha256
	Signed   bool      `json:"signed,omitempty"`   // its signature was verified
	Objects  []Object  `json:"objects,omitempty"`  // in the cache
	Files    []File    `json:"files,omitempty"`    // the agent's own
	Images   []string  `json:"images,omitempty"`   // sha256 of the archives that containerd's store holds already
}

// Object is one object of the store.
type Object struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"` // bytes
}

// File is one file of the agent's own.
type File struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

const recordVersion = 1

// record writes baked.json. Without a time to use, the one of a record that says the same otherwise stays.
func (b *baker) record(ctx context.Context) error {
	now := Record{Version: recordVersion, Agent: b.Version, Time: b.Time.UTC(), Roles: b.Roles, Images: b.imported}
	if b.Objects != nil {
		state := b.Objects.State()
		now.Source, now.Manifest, now.Signed = state.Source, state.Manifest, state.Signed
		objects, err := b.objects()
		if err != nil {
			return err
		}
		for _, o := range objects {
			now.Objects = append(now.Objects, Object{o.Path, o.SHA256, o.Size})
		}
	}
	for _, f := range b.Files {
		sum := sha256.Sum256(f.Content)
		now.Files = append(now.Files, File{f.Path, hex.EncodeToString(sum[:])})
	}
	if b.Time.IsZero() {
		now.Time = time.Now().UTC().Truncate(time.Second)
		was, err := readRecord(b.host.Host)
		if err == nil {
			then := was.Time
			was.Time = now.Time
			if bytes.Equal(was.encode(), now.encode()) {
				now.Time = then
			}
		}
	}
	return b.write(ctx, apply.File{Path: recordPath, Mode: 0o644, Content: now.encode()})
}

func (r Record) encode() []byte {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		panic(err) // strings, numbers and a time
	}
	return append(data, '\n')
}

func readRecord(h *host.Host) (Record, error) {
	var r Record
	data, err := h.Read(recordPath)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err == nil && r.Version != recordVersion {
		err = fmt.Errorf("version %d, this agent knows %d", r.Version, recordVersion)
	}
	if err != nil {
		return Record{}, fmt.Errorf("%s: %w", recordPath, err)
	}
	return r, nil
}

// gaps is what the record names and the image lacks.
func gaps(h *host.Host) ([]Leftover, error) {
	const again = "run rekindle bake again"
	r, err := readRecord(h)
	if errors.Is(err, fs.ErrNotExist) {
		return []Leftover{{Path: recordPath, Why: "missing: nothing was baked", Remedy: "run rekindle bake"}}, nil
	}
	if err != nil {
		return nil, err
	}
	var found []Leftover
	if is, err := h.Look(unitDir + "/rekindle.service"); err != nil {
		return nil, err
	} else if is.Kind != apply.KindFile {
		found = append(found, Leftover{Path: unitDir + "/rekindle.service", Why: "missing: nothing would start the agent",
			Remedy: "install the package, or give bake --units DIR"})
	}
	for _, f := range r.Files {
		sum, err := h.Sum(context.Background(), f.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found = append(found, Leftover{Path: f.Path, Why: "was baked and is gone", Remedy: again})
		case err != nil:
			return nil, err
		case sum != f.SHA256:
			found = append(found, Leftover{Path: f.Path, Why: "is not what was baked", Remedy: again})
		}
	}
	for _, o := range r.Objects {
		p := cachedPath(o)
		is, err := h.Look(p)
		switch {
		case err != nil:
			return nil, err
		case is.Kind != apply.KindFile || is.Stamp.Size != o.Size:
			found = append(found, Leftover{Path: p, Why: o.Path + " was baked and is gone from the cache", Remedy: again})
		}
	}
	return found, nil
}
