// Command boot measures how long a node takes from the start of the agent to the start of its last unit, what it asks
// of whom, and how much memory it takes: with a warm cache, in the lab, without added latency.
//
// Every run is a fresh instance whose image has the assets in its cache, as a baked AMI does. It prints a line for each
// number, `name value unit`, the median of the runs with its extremes, and TARGET MISSED below those that are too high.
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
	"rekindle/test/lab/region"
)

const store = "s3://rekindle-bench/boot"

// bootLimit bounds one boot.
const bootLimit = 30 * time.Second

func main() {
	runs := pflag.Int("runs", 9, "fresh instances for each role")
	binary := pflag.String("binary", "", "the rekindle binary; default: built from this checkout")
	verbose := pflag.BoolP("verbose", "v", false, "tell each run")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, *runs, *binary, *verbose)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-boot:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, runs int, binary string, verbose bool) (err error) {
	dir, err := os.MkdirTemp("", "rekindle-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	set, err := binaries.Build(ctx, filepath.Join("..", "out", "lab-bin"), binary, binaries.Default)
	if err != nil {
		return err
	}
	b := &bench{dir: dir, set: set, verbose: verbose}
	r, err := region.Start(ctx, region.Options{
		Dir: filepath.Join(dir, "lab"), Name: "cn-north-1", Binary: set.Rekindle, Standin: set.Standin, Bake: b.bake,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	b.region = r
	if err := b.fill(ctx); err != nil {
		return err
	}
	for _, role := range []string{"master", "minion"} {
		samples, err := b.measure(ctx, role, runs)
		if err != nil {
			return fmt.Errorf("%s: %w", role, err)
		}
		report(os.Stdout, role, samples)
	}
	return nil
}

// fill publishes the assets of the demo.
func (b *bench) fill(ctx context.Context) error {
	assets := filepath.Join(b.dir, "assets")
	if err := demo.Assets(ctx, assets, b.dir, b.set, demo.Roles, ""); err != nil {
		return err
	}
	if err := b.region.CreateStore(ctx, store); err != nil {
		return err
	}
	return b.region.Publish(ctx, assets, store, os.Stderr)
}
