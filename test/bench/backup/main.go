// Command backup measures what a full backup of etcd costs, and how old a delta is when it is stored: a database of 500 MiB
// in a real etcd with one member, which writes to this disk, and S3 on this machine.
//
// A client writes at a steady rate all the while. Its latency counts from the moment at which a write was due, so that a
// write that had to wait counts, too; it is compared between a backup and the quiet seconds before it. Every number is a
// median of runs, printed as "name value unit".
//
// It starts itself again for the parts that need a process of their own: "serve" is the S3 server, "etcd" the member,
// "take" and "follow" are what is measured. All of them share this machine's processors and its disk.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-backup:", err)
		os.Exit(1)
	}
}

// setup is what the flags say.
type setup struct {
	mib    int
	runs   int
	quiet  time.Duration // measured before each backup
	rate   int           // writes a second while backups are taken
	follow time.Duration // how long deltas are measured
	deltas int           // writes a second meanwhile
	work   string
}

func run(ctx context.Context, args []string) error {
	if len(args) > 1 {
		switch args[0] {
		case "serve":
			return serve(ctx, args[1])
		case "etcd":
			return member(args[1])
		case "take":
			return take(ctx, args[1:])
		case "follow":
			return follow(ctx, args[1:])
		}
	}
	var s setup
	flags := pflag.NewFlagSet("backup", pflag.ContinueOnError)
	flags.IntVar(&s.mib, "size", 500, "size of the database, MiB")
	flags.IntVar(&s.runs, "runs", 3, "backups")
	flags.DurationVar(&s.quiet, "quiet", 15*time.Second, "what is measured before each backup")
	flags.IntVar(&s.rate, "rate", 300, "writes a second while backups are taken")
	flags.DurationVar(&s.follow, "follow", 40*time.Second, "how long deltas are measured")
	flags.IntVar(&s.deltas, "deltas-rate", 2000, "writes a second meanwhile")
	dir := flags.String("dir", "../out/bench-backup", "where everything is kept meanwhile")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if s.mib < 1 || s.runs < 1 || s.rate < 1 || s.deltas < 1 || s.quiet <= 0 || s.follow <= 0 {
		return fmt.Errorf("all numbers must be positive")
	}
	var err error
	if s.work, err = filepath.Abs(*dir); err != nil {
		return err
	}
	return bench(ctx, s)
}
