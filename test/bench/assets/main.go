// Command assets measures how fast and how lean rekindle fetches 1 GiB from S3, verification included, against
// `aws s3 cp --recursive` in the same run, from the same server, onto the same disk. Every number is a median of three
// interleaved runs, printed as "name value unit".
//
// It starts itself again for the parts that need a process of their own: "serve" is the S3 server, "fetch" the one that
// is measured, so that its peak memory is its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench-assets:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		return bench(ctx)
	case len(args) == 2 && args[0] == "serve":
		return serve(ctx, args[1])
	case len(args) == 3 && strings.HasPrefix(args[0], "fetch"):
		return fetch(ctx, args[1], args[2], args[0] == "fetch-synced")
	}
	return errors.New("usage: assets")
}
