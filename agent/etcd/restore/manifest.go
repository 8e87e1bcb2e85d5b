package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/store"
)

// manifestLimit is more than any manifest has, in bytes.
const manifestLimit = store.MaxRecord

// readManifest reads the backup's manifest, until ctx ends if need be.
func (b *build) readManifest(ctx context.Context, blobs store.Blobs) (m backup.Manifest, err error) {
	key := b.Backup.ManifestKey()
	var data []byte
	err = b.insist(ctx, func(ctx context.Context, w *watch) error {
		body, err := blobs.Open(ctx, key, 0, 0)
		if errors.Is(err, store.ErrAbsent) {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if err != nil {
			return err
		}
		defer body.Close()
		data, err = io.ReadAll(io.LimitReader(b.counted(body, w), manifestLimit+1))
		return err
	})
	if err != nil {
		return m, fmt.Errorf("%s: %w", key, err)
	}
	if m, err = parseManifest(data); err == nil {
		err = b.belongs(m)
	}
	if err != nil {
		return m, fmt.Errorf("%s: %w", key, err)
	}
	return m, nil
}

// parseManifest tells a newer manifest from a bad one.
func parseManifest(data []byte) (m backup.Manifest, err error) {
	var format struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(data, &format) == nil && format.Version > backup.ManifestVersion {
		return m, fmt.Errorf("%w: format %d, and this agent knows %d: update the agent", ErrNewer, format.Version, backup.ManifestVersion)
	}
	if m, err = backup.ParseManifest(data); err != nil {
		return m, corrupt("%w", err)
	}
	return m, nil
}

// belongs compares a manifest with where it lies, and its etcd with the one that will run.
func (b *build) belongs(m backup.Manifest) error {
	if id := backup.ID(m.Generation, m.Taken, m.Revision); m.Cluster != b.Backup.Cluster || id != b.Backup.ID {
		return corrupt("it is of etcd %s, backup %s", m.Cluster, id)
	}
	if err := b.runs(m.EtcdVersion); err != nil {
		return err
	}
	if m.StorageVersion == "" {
		return nil // before 3.6 databases have none
	}
	return b.runs(m.StorageVersion)
}

// runs refuses what a newer minor of etcd than MaxEtcd wrote: etcd cannot read it.
func (b *build) runs(wrote string) error {
	theirs, err := minor(wrote)
	if err != nil {
		return corrupt("%w", err)
	}
	ours, err := minor(b.MaxEtcd)
	if err != nil {
		return err
	}
	if slices.Compare(ours[:], theirs[:]) < 0 {
		return fmt.Errorf("%w: etcd %s wrote it, and %s would run: set etcd's version to %d.%d or newer, or choose an older backup",
			ErrNewer, wrote, b.MaxEtcd, theirs[0], theirs[1])
	}
	return nil
}

// minor is a version without its patch.
func minor(v string) (m [2]int, err error) {
	parts := strings.Split(v, ".")
	for i := range m {
		if len(parts) < 2 || len(parts) > 3 {
			err = errors.New("want major.minor or major.minor.patch")
		} else if err == nil {
			m[i], err = strconv.Atoi(parts[i])
		}
	}
	if err != nil {
		return m, fmt.Errorf("etcd version %q: %w", v, err)
	}
	return m, nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}
