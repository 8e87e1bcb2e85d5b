package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"rekindle/test/lab/binaries"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
	"rekindle/test/lab/verify"
)

// run is the whole demo.
func run(ctx context.Context, f flags) (err error) {
	out := newScreen(os.Stdout)
	out.title(f)
	set, err := build(ctx, out, f)
	if err != nil {
		return err
	}
	interrupted := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("it took longer than %s", f.timeout))
	defer cancel()
	start := time.Now()
	if err := clear(f.dir); err != nil {
		return err
	}
	c, err := readCluster(ctx, f, set)
	if err != nil {
		return err
	}
	options := region.Options{
		Dir: f.dir, Name: f.region, Route53: f.route53, Binary: set.Rekindle, Standin: set.Standin,
		Cluster: c.name, NodeProfile: c.profile, Config: c.imageConfig(),
	}
	if f.verbose {
		options.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r, err := region.Start(ctx, options)
	if err != nil {
		return err
	}
	defer func() { // also on a panic
		if closeErr := r.Close(); closeErr != nil {
			err = errors.Join(err, closeErr)
		}
	}()
	if err := c.publish(ctx, out, r); err != nil {
		return err
	}
	sniff := verify.Sniff(r)
	defer sniff.Close()
	if err := c.launch(r); err != nil {
		return err
	}
	if err := boot(ctx, out, r, c.size()); err != nil {
		return err
	}
	suite := &verify.Suite{Region: r, Binary: set.Rekindle, Store: c.store, Assets: c.assets, Sniff: sniff, Requests: counts(r)}
	timelines, drawErr := draw(ctx, f.dir, set.Rekindle, r) // before the checks restart the agents
	out.section("checks")
	failed := errors.Join(suite.Run(ctx, out.check), drawErr)
	failed = errors.Join(failed, showCertificates(ctx, out, r))
	if failed == nil {
		var more []string
		more, failed = c.play(ctx, out, r, suite)
		timelines = append(timelines, more...)
	}
	out.places(f.dir, timelines, time.Since(start))
	if f.keep {
		out.line("running until Ctrl-C")
		<-interrupted.Done()
	}
	return failed
}

func build(ctx context.Context, out *screen, f flags) (binaries.Set, error) {
	done := out.step("build")
	set, err := binaries.Build(ctx, filepath.Join(filepath.Dir(f.dir), "lab-bin"), f.binary, binaries.Default)
	if err != nil {
		return set, err
	}
	done("the agent, the real etcd, and stand-ins for what needs root")
	return set, nil
}

// clear empties the directory of the last run, if it is one.
func clear(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, "nodes")); err != nil {
			return fmt.Errorf("%s: not empty, and not of an earlier run: give another --dir", dir)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(dir, "nodes"), 0o755)
}

// boot shows the instances until all are ready, or one failed.
func boot(ctx context.Context, out *screen, r *region.Region, want int) error {
	table := out.table(r)
	defer table.stop()
	for _, group := range r.Cloud.Groups() {
		if _, err := r.AwaitMembers(ctx, group.Name, group.Desired); err != nil {
			return err
		}
	}
	nodes := r.Nodes()
	if len(nodes) != want {
		return fmt.Errorf("%d instances run, %d were asked for", len(nodes), want)
	}
	results := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() {
			_, err := n.Ready(ctx)
			results <- err
		}()
	}
	var errs []error
	for range nodes {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

func counts(r *region.Region) map[string]map[string]int {
	all := map[string]map[string]int{}
	for _, n := range r.Nodes() {
		all[n.ID] = r.Requests(n.ID)
	}
	return all
}

// draw writes the timeline of each boot.
func draw(ctx context.Context, dir, binary string, r *region.Region) (paths []string, err error) {
	seen := map[string]int{}
	for _, n := range r.Nodes() {
		role := roleOf(r, n)
		seen[role]++
		path := filepath.Join(dir, fmt.Sprintf("timeline-%s-%d.svg", role, seen[role]))
		if err := drawOne(ctx, binary, n, path); err != nil {
			return paths, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func roleOf(r *region.Region, n *node.Node) string {
	return r.Cloud.Instance(n.ID).Tags()["rekindle:role"]
}
