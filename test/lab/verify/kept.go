package verify

import (
	"errors"
	"fmt"
	"maps"

	"rekindle/test/lab/node"
)

// Kept remembers the processes of nodes' units, to tell later whether they are still the same.
type Kept struct {
	nodes  []*node.Node
	before map[string]map[int]string // by instance
}

// Keep remembers those of this moment.
func Keep(nodes []*node.Node) *Kept {
	k := &Kept{nodes: nodes, before: map[string]map[int]string{}}
	for _, n := range nodes {
		k.before[n.ID] = units(n)
	}
	return k
}

// Check returns how many processes are still the same. It is an error if one is not, or if there were none.
func (k *Kept) Check() (int, error) {
	kept := 0
	var errs []error
	for _, n := range k.nodes {
		before, after := k.before[n.ID], units(n)
		if len(before) == 0 || !maps.Equal(before, after) {
			errs = append(errs, fmt.Errorf("%s: processes were %v, are %v", n.ID, before, after))
			continue
		}
		kept += len(before)
	}
	return kept, errors.Join(errs...)
}
