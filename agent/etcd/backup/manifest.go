package backup

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"rekindle/agent/store"
)

// Bounds of what a manifest may claim.
const (
	maxManifest = store.MaxRecord         // bytes of JSON
	maxChunks   = 10_000                  // 78 GiB
	maxFrame    = ChunkSize + ChunkSize/8 // bytes of one zstd frame; it never grows that much
)

// ReadManifest reads and checks the manifest of a backup. store.ErrAbsent: the backup does not count (any more).
func ReadManifest(ctx context.Context, blobs store.Blobs, entry Entry) (Manifest, error) {
	m, err := readManifest(ctx, blobs, entry)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup %s of etcd %s: %w", entry.ID, entry.Cluster, err)
	}
	return m, nil
}

func readManifest(ctx context.Context, blobs store.Blobs, entry Entry) (Manifest, error) {
	data, err := readObject(ctx, blobs, entry.ManifestKey(), 0, 0, maxManifest)
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	m, err := ParseManifest(data)
	switch {
	case err != nil:
		return Manifest{}, damage{err}
	case m.Cluster != entry.Cluster || ID(m.Generation, m.Taken, m.Revision) != entry.ID:
		return Manifest{}, damage{fmt.Errorf("manifest: it is of etcd %s, backup %s", m.Cluster, ID(m.Generation, m.Taken, m.Revision))}
	case entry.Snapshot != 0 && entry.Snapshot != m.Stored:
		return Manifest{}, damage{fmt.Errorf("%s has %d bytes, but the manifest says %d", snapshotName, entry.Snapshot, m.Stored)}
	}
	return m, nil
}

// readObject reads a range, at most limit bytes.
func readObject(ctx context.Context, blobs store.Blobs, key string, offset, length, limit int64) ([]byte, error) {
	r, err := blobs.Open(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", key, err)
	case int64(len(data)) > limit:
		return nil, damage{fmt.Errorf("%s: more than %d bytes", key, limit)}
	}
	return data, nil
}

// ParseManifest reads a manifest strictly: unknown fields, and sizes, places and digests that contradict each other, are
// errors.
func ParseManifest(data []byte) (Manifest, error) {
	if len(data) > maxManifest {
		return Manifest{}, fmt.Errorf("manifest: %d bytes, more than %d", len(data), maxManifest)
	}
	var format struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &format); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if format.Version != ManifestVersion {
		return Manifest{}, fmt.Errorf("manifest: version %d; this agent knows version %d: use the agent that took the backup, or a newer one",
			format.Version, ManifestVersion)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var m Manifest
	if err := decoder.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

// Encode is the manifest as it is stored. One that ParseManifest would refuse is an error.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if len(data) >= maxManifest {
		return nil, fmt.Errorf("manifest: %d bytes, more than %d", len(data)+1, maxManifest)
	}
	return append(data, '\n'), nil
}

func (m *Manifest) check() error {
	switch {
	case m.Version != ManifestVersion:
		return fmt.Errorf("version %d, want %d", m.Version, ManifestVersion)
	case m.Cluster == "" || strings.Contains(m.Cluster, "/"):
		return fmt.Errorf("cluster %q is no name", m.Cluster)
	case m.UID == "":
		return errors.New("uid is empty")
	case m.Generation < 1:
		return fmt.Errorf("generation %d: must be at least 1", m.Generation)
	case m.Member == "":
		return errors.New("member is empty")
	case m.Taken.Year() < 1970 || m.Taken.Year() > 9999:
		return fmt.Errorf("taken %s: no plausible time", m.Taken)
	case m.Members < 1:
		return fmt.Errorf("members %d: must be at least 1", m.Members)
	case m.EtcdVersion == "":
		return errors.New("etcdVersion is empty")
	case m.Revision < 1:
		return fmt.Errorf("revision %d: must be at least 1", m.Revision)
	case m.CompactRevision < 0 || m.CompactRevision > m.Revision:
		return fmt.Errorf("compactRevision %d is not between 0 and revision %d", m.CompactRevision, m.Revision)
	case m.Keys < 0:
		return fmt.Errorf("keys %d: must not be negative", m.Keys)
	case !isDigest(m.SHA256):
		return errors.New("sha256 is not 64 lower-case hexadecimal digits")
	}
	return m.checkChunks()
}

func (m *Manifest) checkChunks() error {
	if m.Size <= 0 || m.Size%512 != 0 || m.Size > maxChunks*ChunkSize {
		return fmt.Errorf("size %d is not that of a database", m.Size)
	}
	if want := (m.Size + ChunkSize - 1) / ChunkSize; int64(len(m.Chunks)) != want {
		return fmt.Errorf("%d chunks, but %d bytes have %d", len(m.Chunks), m.Size, want)
	}
	end := int64(0)
	for i, chunk := range m.Chunks {
		switch {
		case chunk.Offset != end:
			return fmt.Errorf("chunk %d begins at %d, but the one before ends at %d", i, chunk.Offset, end)
		case chunk.Length < 1 || chunk.Length > maxFrame:
			return fmt.Errorf("chunk %d: length %d is out of range", i, chunk.Length)
		case !isDigest(chunk.SHA256) || !isDigest(chunk.BLAKE3):
			return fmt.Errorf("chunk %d: a digest is not 64 lower-case hexadecimal digits", i)
		}
		end += chunk.Length
	}
	if end != m.Stored {
		return fmt.Errorf("the chunks end at %d, but %d bytes are stored", end, m.Stored)
	}
	return nil
}

func isDigest(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 64 && s == strings.ToLower(s)
}
