// Command restore measures how fast and how lean rekindle makes a data directory of etcd from a backup in S3, against what
// an operator does without it: download the snapshot to a file, with the transfer manager of AWS' SDK, and run
// `etcdutl snapshot restore` with the same bump. Both read from the same server, on this machine, and write to the same
// disk. Every number is a median of interleaved runs, printed as "name value unit".
//
// It starts itself again for the parts that need a process of their own: "serve" is the S3 server, "ours", "download" and
// "etcdutl" are what is measured. The database is made once and kept, as objects of that server, in the cache.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-restore:", err)
		os.Exit(1)
	}
}

// setup is what the flags say.
type setup struct {
	keys, size  int // keys in the database, bytes of each value
	runs        int
	cache, work string
	profile     string
}

func run(ctx context.Context, args []string) error {
	if len(args) > 1 {
		switch args[0] {
		case "serve":
			return serve(ctx, args[1])
		case "ours":
			return ours(ctx, args[1:])
		case "download":
			return download(ctx, args[1:])
		case "etcdutl":
			return etcdutl(args[1:])
		}
	}
	flags := pflag.NewFlagSet("restore", pflag.ContinueOnError)
	mib := flags.Int("size", 2048, "size of the database, MiB; a key for every 2 KiB")
	var s setup
	flags.IntVar(&s.runs, "runs", 3, "runs of each")
	flags.StringVar(&s.cache, "cache", "../out/bench-restore", "where the database is kept for the next time")
	flags.StringVar(&s.profile, "cpuprofile", "", "where the last restore writes its CPU profile")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *mib < 1 || s.runs < 1 {
		return fmt.Errorf("--size %d, --runs %d: must be at least 1", *mib, s.runs)
	}
	s.keys, s.size = *mib<<20/perKey, valueSize
	var err error
	if s.cache, err = filepath.Abs(filepath.Join(s.cache, fmt.Sprint(*mib))); err != nil {
		return err
	}
	if s.profile != "" {
		if s.profile, err = filepath.Abs(s.profile); err != nil {
			return err
		}
	}
	s.work = filepath.Join(s.cache, "work")
	return bench(ctx, s)
}
