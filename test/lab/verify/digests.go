package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"rekindle/agent/plan"
	"rekindle/test/lab/node"
)

// digests compares what lies at the path of each asset with the digest that the published manifest has for it. What
// was unpacked is compared with the archive in the directory that was published.
func (s *Suite) digests(ctx context.Context) (string, error) {
	published, err := s.manifest(ctx)
	if err != nil {
		return "", err
	}
	var errs []error
	files, unpacked := 0, 0
	for _, n := range s.Region.Nodes() {
		for _, a := range s.plans[n.ID].Assets {
			want, ok := published[a.Object]
			if !ok {
				errs = append(errs, fmt.Errorf("%s: %s is not in the manifest", n.ID, a.Object))
				continue
			}
			if a.Unpack {
				count, err := s.compareArchive(n, a)
				unpacked += count
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: %s: %w", n.ID, a.Object, err))
				}
				continue
			}
			got, err := sum(n.Path(a.Path))
			if err == nil && got != want {
				err = fmt.Errorf("sha256 %s, the manifest has %s", got, want)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", n.ID, a.Path, err))
			}
			files++
		}
	}
	if files == 0 {
		errs = append(errs, errors.New("no asset was placed"))
	}
	return fmt.Sprintf("%d files and %d unpacked ones are what the manifest says", files, unpacked), errors.Join(errs...)
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

func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (s *Suite) compareArchive(n *node.Node, a plan.Asset) (int, error) {
	return compareArchive(s.Assets+"/"+a.Object, n.Path(a.Path))
}
