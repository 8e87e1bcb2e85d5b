// Command image builds a disk image of Debian that rekindle baked, with what packer/provision.sh does in an AMI, and needs
// root for it. Without --store the image holds stand-ins for Kubernetes: enough to boot it, and to watch it boot.
//
//	go run ./image --out ../out/image/rekindle.img
//	go run ./image --store dir:///srv/store --roles minion --out minion.img
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.Out, "out", "../out/image/rekindle.img", "the disk image to make, raw")
	flag.StringVar(&o.Cache, "cache", "../out/image", "where Debian's packages are kept between builds")
	flag.StringVar(&o.Binary, "binary", "../bin/rekindle", "the agent")
	flag.StringVar(&o.Repository, "repository", "..", "for packer/ and systemd/")
	flag.StringVar(&o.Store, "store", "", "s3://, https:// or dir://; without it stand-ins")
	flag.StringVar(&o.Roles, "roles", "master,minion", "what the image is for")
	flag.StringVar(&o.Key, "key", "", "public SSH key that stays in the image, for root")
	flag.StringVar(&o.Layer, "layer", "", "the image's layer of the configuration: becomes /etc/rekindle/10-image.yaml")
	flag.StringVar(&o.Only, "only", "", "base: make the base alone, for Packer; upload: and what Packer uploads")
	flag.BoolVar(&o.CloudInit, "cloud-init", false, "with Debian's cloud-init")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	start := time.Now()
	if err := build(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: built in %s\n", o.Out, time.Since(start).Round(time.Second))
}
