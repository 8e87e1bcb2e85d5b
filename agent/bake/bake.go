// Package bake prepares an image: in a Packer provisioner, a chroot or a directory it does ahead what every first boot
// would do alike, and removes what instances must not share.
//
// What is prefetched goes into the cache that a boot reads, and what is put in place goes there through the engine that a
// boot applies its plan with. So a boot finds both as its own, fetches nothing of it, and unpacks nothing again, as long
// as the disk is copied by blocks, which keeps inodes and times. Copied file by file, all of it is read once and verified.
//
// To add something that must not be in an image, add a line to rules.
package bake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/assets"
	"rekindle/agent/host"
	"rekindle/agent/plan"
)

// Paths in the image.
const (
	recordPath = "/etc/rekindle/baked.json"
	imagesDir  = "/var/lib/rekindle/images" // rekindle-images.service imports what is there
)

// Options say what to bake. What is zero is left out.
type Options struct {
	Root    string
	Version string        // the agent's
	Files   []apply.File  // the program, its units and completions: see Install
	Objects *assets.Store // opened with Root's cache
	Roles   []string      // for the record
	Plans   []*plan.Plan  // one for each of Roles
	Keep    []string      // paths, and what is below them, that are not removed although a rule says so
	Time    time.Time     // nothing that bake makes is younger; zero: it has the time at which it was made
	Import  bool          // bring container images into containerd's store
	Dry     bool          // report what would change, and change nothing but the cache
	Logger  *slog.Logger
}

// Baked is what was done.
type Baked struct {
	Changes  []apply.Change
	Warnings []string
}

// Bake brings the image into its state. A second time it changes nothing. It refuses a machine that has been a node.
func Bake(ctx context.Context, options Options) (Baked, error) {
	b := &baker{Options: options, host: &dated{Host: host.New(options.Root), at: options.Time}}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"check", b.refuse},
		{"install", b.install},
		{"assets", b.place},
		{"images", b.importImages},
		{"clean", b.clean},
		{"record", b.record},
		{"times", b.clamp},
	} {
		if err := step.do(ctx); err != nil {
			return b.done, fmt.Errorf("bake: %s: %w", step.name, err)
		}
	}
	return b.done, nil
}

type baker struct {
	Options
	host     *dated
	assets   []plan.Asset
	imported []string // digests of the archives that containerd's store holds
	done     Baked
}

func (b *baker) did(change apply.Change) {
	b.done.Changes = append(b.done.Changes, change)
	b.Logger.Debug("changed", change.Kind, change.Name, "action", change.Action, "detail", change.Detail)
}

func (b *baker) warn(text string) { b.done.Warnings = append(b.done.Warnings, text) }

// refuse keeps a node's identity and data out of images: neither can be told from what an operator put there on purpose,
// so nothing of it is removed.
func (b *baker) refuse(context.Context) error {
	found, err := leftovers(b.host.Host, b.Keep)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range found {
		if l.rule.Node {
			errs = append(errs, errors.New(l.String()))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("this machine has been a node; bake an instance of a base image that never was: %w", errors.Join(errs...))
	}
	return nil
}
