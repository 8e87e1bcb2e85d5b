// Command lab is a cluster's cloud on one machine, without root and without a network: an embedded AWS region whose
// Auto Scaling groups launch instances, each a directory with the real agent in it, from a store that the real
// `rekindle publish` filled. It shows the boots, checks what came of them, and exits 0 only if all is as it should be.
//
//	go run ./lab                                           # the demo: checks, and then masters that die
//	go run ./lab --config my.yaml                          # your user-data or cluster.yaml, with stand-ins for assets
//	go run ./lab --config my.yaml --assets ./assets        # and your roles and assets, laid out as for publish
//	go run ./lab --config my.yaml --scenes all             # and the masters die, too
//	go run ./lab --keep                                    # leave it running until Ctrl-C
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
)

// limit is how long the whole demo may take after the build: on a machine that has nothing else to do it takes a sixth.
const limit = 5 * time.Minute

// flags are the command line.
type flags struct {
	config, assets, binary, dir, region string
	masters, minions, loadbalancers     int
	scenes                              []string
	route53, keep, verbose              bool
	timeout                             time.Duration
}

func parse(args []string) (flags, error) {
	var f flags
	set := pflag.NewFlagSet("lab", pflag.ContinueOnError)
	set.StringVar(&f.config, "config", "", "user-data of the instances, in any form that the agent reads; default: the demo's")
	set.StringVar(&f.assets, "assets", "", "directory that is published as the store; default: stand-ins and the real etcd")
	set.StringVar(&f.binary, "binary", "", "the rekindle binary; default: built from this checkout")
	set.StringVar(&f.dir, "dir", "", "where the trees go, emptied first; default: ../out/demo of the test module")
	set.StringVar(&f.region, "region", "cn-north-1", "the region; its name decides the partition")
	set.IntVar(&f.masters, "masters", 1, "masters")
	set.IntVar(&f.minions, "minions", 2, "minions")
	set.IntVar(&f.loadbalancers, "loadbalancers", 1, "load balancers")
	set.StringSliceVar(&f.scenes, "scenes", nil, "what happens after the checks: "+sceneNames()+", all or none; default: all, and none with --config or --assets")
	set.BoolVar(&f.route53, "route53", false, "have Route 53 in the region")
	set.BoolVar(&f.keep, "keep", false, "after the checks leave everything running until Ctrl-C")
	set.BoolVarP(&f.verbose, "verbose", "v", false, "log what the region does")
	set.DurationVar(&f.timeout, "timeout", limit, "how long it may take, after the build")
	set.SortFlags = false
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("%q: the lab takes flags only", set.Arg(0))
	}
	if f.scenes == nil && f.config == "" && f.assets == "" {
		f.scenes = []string{"all"}
	}
	if _, err := choose(f.scenes, f.masters); err != nil {
		return f, err
	}
	return f, f.absolute()
}

// absolute fixes the paths: the S3 server changes the working directory.
func (f *flags) absolute() error {
	if f.dir == "" {
		f.dir = filepath.Join("..", "out", "demo")
	}
	var errs []error
	for _, path := range []*string{&f.config, &f.assets, &f.binary, &f.dir} {
		if *path == "" {
			continue
		}
		whole, err := filepath.Abs(*path)
		errs = append(errs, err)
		*path = whole
	}
	return errors.Join(errs...)
}

func main() {
	f, err := parse(os.Args[1:])
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	err = run(ctx, f)
	if ctx.Err() != nil && err != nil {
		err = errors.New("interrupted; everything has been stopped")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}
