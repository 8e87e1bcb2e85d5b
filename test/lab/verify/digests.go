package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// digests compares what lies at the path of each asset with what was published: the published file must have the digest
// that the manifest has, and what a node has must be equal to it, byte by byte.
func (s *Suite) digests(ctx context.Context) (string, error) {
	published, err := s.manifest(ctx)
	if err != nil {
		return "", err
	}
	var errs []error
	files, unpacked := 0, 0
	places := s.places()
	for _, object := range slices.Sorted(maps.Keys(places)) {
		original := filepath.Join(s.Assets, object)
		errs = append(errs, checkSum(original, object, published))
		for _, path := range places[object].files {
			errs = append(errs, equal(original, path))
			files++
		}
		if dirs := places[object].dirs; len(dirs) > 0 {
			count, err := compareArchive(original, dirs)
			unpacked += count
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", object, err))
			}
		}
	}
	if files == 0 {
		errs = append(errs, errors.New("no asset was placed"))
	}
	return fmt.Sprintf("%d files and %d unpacked ones are what the manifest says", files, unpacked), errors.Join(errs...)
}

// placed is where an object lies, on all nodes: as a file, or unpacked.
type placed struct{ files, dirs []string }

func (s *Suite) places() map[string]placed {
	all := map[string]placed{}
	for _, n := range s.Region.Nodes() {
		for _, a := range s.plans[n.ID].Assets {
			p := all[a.Object]
			if a.Unpack {
				p.dirs = append(p.dirs, n.Path(a.Path))
			} else {
				p.files = append(p.files, n.Path(a.Path))
			}
			all[a.Object] = p
		}
	}
	return all
}

func checkSum(path, object string, published map[string]string) error {
	want, ok := published[object]
	if !ok {
		return fmt.Errorf("%s is not in the manifest", object)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%s: sha256 %s, the manifest has %s", path, got, want)
	}
	return nil
}

// manifest reads the published manifest from the store: sha256 by path.
func (s *Suite) manifest(ctx context.Context) (map[string]string, error) {
	data, err := s.Region.ReadStore(ctx, s.Store, "manifest.json")
	if err != nil {
		return nil, err
	}
	var m struct {
		Objects []struct{ Path, SHA256 string }
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	digests := map[string]string{}
	for _, o := range m.Objects {
		digests[o.Path] = o.SHA256
	}
	return digests, nil
}
