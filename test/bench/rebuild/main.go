// Command rebuild measures how long a cluster of one master is without etcd when that master is terminated with its disk: in
// the lab, whose Auto Scaling group launches another at once from an image that has the assets in its cache, and whose
// network costs nothing. What EC2 takes to boot an instance comes on top.
//
// It prints a line for each number, `name value unit`, the median of the runs with its extremes. rebuild_seconds is from
// the kill to the first answer of the new master's etcd that takes a quorum; the lines below it say where that time went, by
// the new master's own timeline.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/region"
)

const store = "s3://rekindle-bench/rebuild"

// options are the command line.
type options struct {
	runs, size, since int
	binary            string
	verbose           bool
	limit             time.Duration
}

func main() {
	var o options
	pflag.IntVar(&o.runs, "runs", 3, "masters that are terminated, one after the other")
	pflag.IntVar(&o.size, "size", 200, "MiB of etcd's database")
	pflag.IntVar(&o.since, "since", 1000, "keys that are written after the full backup, and stored as deltas")
	pflag.StringVar(&o.binary, "binary", "", "the rekindle binary; default: built from this checkout")
	pflag.BoolVarP(&o.verbose, "verbose", "v", false, "show the timeline of each run")
	pflag.DurationVar(&o.limit, "timeout", 15*time.Minute, "how long all of it may take, after the build")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-rebuild:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.runs < 1 || o.size < 1 || o.since < 0 {
		return errors.New("--runs and --size must be at least 1, --since at least 0")
	}
	dir, err := os.MkdirTemp("", "rekindle-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	set, err := binaries.Build(ctx, filepath.Join("..", "out", "lab-bin"), o.binary, binaries.Default)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("it took longer than %s", o.limit))
	defer cancel()
	b := &bench{options: o, dir: dir}
	b.region, err = region.Start(ctx, region.Options{
		Dir: filepath.Join(dir, "lab"), Name: "cn-north-1", Binary: set.Rekindle, Standin: set.Standin, Bake: b.bake,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.region.Close()) }()
	b.etcd = &keyspace.Cluster{Region: b.region, Store: store, Name: cluster}
	if err := b.publish(ctx, set); err != nil {
		return err
	}
	samples, err := b.measure(ctx)
	if err != nil {
		return err
	}
	return report(os.Stdout, samples)
}

// publish fills the store with what a master of the demo needs.
func (b *bench) publish(ctx context.Context, set binaries.Set) error {
	assets := filepath.Join(b.dir, "assets")
	if err := demo.Assets(ctx, assets, b.dir, set, []string{"master"}, ""); err != nil {
		return err
	}
	if err := b.region.CreateStore(ctx, store); err != nil {
		return err
	}
	return b.region.Publish(ctx, assets, store, os.Stderr)
}
