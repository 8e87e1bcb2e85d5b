package bake

import (
	"context"
	"encoding/json"

	"rekindle/agent/apply"
	"rekindle/agent/host"
)

// clean removes what must not be in an image. It comes after all that could make more of it.
func (b *baker) clean(ctx context.Context) error {
	found, err := leftovers(b.host.Host, b.Keep)
	if err != nil {
		return err
	}
	for _, l := range found {
		change := apply.Change{Kind: "leftover", Name: l.Path, Action: "remove", Detail: l.Why}
		if l.rule.Empty {
			change.Action = "empty"
		}
		b.did(change)
		if b.Dry {
			continue
		}
		if l.rule.Empty {
			_, err = b.host.Write(ctx, apply.File{Path: l.Path, Mode: 0o444})
		} else {
			err = b.host.RemoveAll(l.Path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Check is everything that keeps an image from being one: what must not be there, then what was baked and is gone.
func Check(root string, keep []string) ([]Leftover, error) {
	h := host.New(root)
	found, err := leftovers(h, keep)
	if err != nil {
		return nil, err
	}
	missing, err := gaps(h)
	return append(found, missing...), err
}

// booting is what an apply of more than assets left: the image holds a node's configuration.
func booting(h *host.Host) []Leftover {
	data, err := h.Read(apply.RecordPath)
	if err != nil {
		return nil
	}
	var record struct{ Files, Units, Etcd map[string]any }
	if json.Unmarshal(data, &record) != nil || len(record.Files)+len(record.Units)+len(record.Etcd) == 0 {
		return nil
	}
	node := &rule{Node: true}
	return []Leftover{{Path: apply.RecordPath, Why: "the record of a boot: this machine has been a node",
		Remedy: "bake a machine that never was one", rule: node}}
}
