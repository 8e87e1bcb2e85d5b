package apply

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"

	"rekindle/agent/plan"
)

// inputsDigest is how many hexadecimal digits stand for a file's inputs: enough to tell one from the next.
const inputsDigest = 16

// digestInputs writes the digest of their inputs into the files that have some.
func (a *pass) digestInputs(ctx context.Context) error {
	files, err := inputOrder(a.plan.Files)
	if err != nil {
		return err
	}
	for _, f := range files {
		h := sha256.New()
		if err := a.hashInputs(ctx, h, a.reads(f.Inputs)); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
		digest := hex.EncodeToString(h.Sum(nil))[:inputsDigest]
		want := a.want[f.Path]
		a.wants(f.Path, want.Mode, bytes.ReplaceAll(want.Content, []byte(plan.InputsMark), []byte(digest)))
	}
	return nil
}

// inputOrder is the files that have inputs, each after those that it reads.
func inputOrder(files []plan.File) (ordered []plan.File, err error) {
	const entered, left = 1, 2
	seen := map[string]int{}
	var visit func(f plan.File) error
	visit = func(f plan.File) error {
		switch seen[f.Path] {
		case entered:
			return fmt.Errorf("file %s: its inputs lead back to itself", f.Path)
		case left:
			return nil
		}
		seen[f.Path] = entered
		for _, other := range files {
			if len(other.Inputs) > 0 && within(other.Path, f.Inputs) {
				if err := visit(other); err != nil {
					return err
				}
			}
		}
		seen[f.Path] = left
		ordered = append(ordered, f)
		return nil
	}
	for _, f := range files {
		if len(f.Inputs) == 0 {
			continue
		}
		if err := visit(f); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}

// within tells whether p is one of wanted, or below one.
func within(p string, wanted []string) bool {
	return slices.ContainsFunc(wanted, func(in string) bool { return p == in || strings.HasPrefix(p, in+"/") })
}

// reads is the paths that wanted stands for, sorted: a directory stands for all that the plan puts below it, and what
// the plan does not bring, such as somebody else's file, for itself.
func (a *pass) reads(wanted []string) []string {
	var paths []string
	for p := range maps.Keys(a.sums) {
		if within(p, wanted) {
			paths = append(paths, p)
		}
	}
	for _, in := range wanted {
		if !slices.ContainsFunc(paths, func(p string) bool { return within(p, []string{in}) }) {
			paths = append(paths, in)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// hashInputs adds paths and what is in them.
func (a *pass) hashInputs(ctx context.Context, h hash.Hash, paths []string) (err error) {
	for _, p := range paths {
		sum, ok := a.sums[p]
		if !ok {
			if sum, err = a.foreign(ctx, p); err != nil {
				return err
			}
		}
		fmt.Fprintf(h, "%s %s\n", p, sum)
	}
	return nil
}
