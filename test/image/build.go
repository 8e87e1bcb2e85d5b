package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"rekindle/agent/assets"
	"rekindle/test/lab/binaries"
	"rekindle/test/lab/demo"
)

// options are the flags. Paths may be relative.
type options struct {
	Out, Cache, Binary, Repository string
	Store, Roles, Key, Only, Layer string
	CloudInit                      bool
}

// build makes the image: a base, what is uploaded to it, and the provisioner's work.
func build(ctx context.Context, o options) (err error) {
	for _, p := range []*string{&o.Out, &o.Cache, &o.Binary, &o.Repository, &o.Key, &o.Layer} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root, for loop devices and chroot")
	}
	if err := errors.Join(os.MkdirAll(o.Cache, 0o755), os.MkdirAll(filepath.Dir(o.Out), 0o755)); err != nil {
		return err
	}
	base := o.Cache + "/base.img"
	if o.CloudInit {
		base = o.Cache + "/base-cloud-init.img"
	}
	environment := []string{"CACHE=" + o.Cache, "CLOUD_INIT=no", "ROLES=" + o.Roles, "IMPORT=true", "LAYER=" + o.Layer}
	if o.CloudInit {
		environment[1] = "CLOUD_INIT=yes"
	}
	if err := o.script(ctx, environment, "base.sh", base, o.Key); err != nil || o.Only == "base" {
		return err
	}
	upload := o.Cache + "/upload"
	if err := o.upload(upload); err != nil {
		return err
	}
	store := ""
	switch dir, local := strings.CutPrefix(o.Store, "dir://"); {
	case o.Store == "":
		store = o.Cache + "/store"
		if err := o.standIns(ctx, store); err != nil {
			return err
		}
		environment[3] = "IMPORT=false" // a stand-in keeps no images
	case local:
		store = dir
	default:
		environment = append(environment, "FROM="+o.Store)
	}
	if o.Only == "upload" {
		return run(ctx, nil, "cp", "-rT", store, upload+"/store")
	}
	if o.Key != "" {
		environment = append(environment, "KEEP=/root/.ssh/authorized_keys")
	}
	return o.script(ctx, environment, "build.sh", base, o.Out, upload, store)
}

// upload collects what the provisioner needs.
func (o *options) upload(dir string) error {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	if err := os.CopyFS(dir+"/systemd", os.DirFS(o.Repository+"/systemd")); err != nil {
		return err
	}
	for from, to := range map[string]string{o.Binary: "rekindle", o.Repository + "/packer/provision.sh": "provision.sh"} {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), data, 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// standIns publishes what the lab's nodes run to dir.
func (o *options) standIns(ctx context.Context, dir string) error {
	work, err := os.MkdirTemp(o.Cache, "stand-ins-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	programs, err := binaries.Build(ctx, work, o.Binary, binaries.Default)
	if err != nil {
		return err
	}
	if err := demo.Assets(ctx, work+"/assets", work, programs, strings.Split(o.Roles, ","), ""); err != nil {
		return err
	}
	target, err := assets.ParseTarget("dir://"+dir, nil)
	if err != nil {
		return err
	}
	_, err = assets.Publish(ctx, assets.PublishOptions{Dir: work + "/assets", Target: target, Parallel: 2})
	return err
}

// script runs one of the scripts beside this file. Its mounts are its own: of those that the machine sees, whatever starts
// meanwhile with mounts of its own, a container or a sandboxed unit, takes a copy with it, and the disk remains in use.
func (o *options) script(ctx context.Context, environment []string, name string, args ...string) error {
	start := time.Now()
	path := filepath.Join(o.Repository, "test", "image", name)
	if err := run(ctx, environment, "unshare", append([]string{"--mount", path}, args...)...); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Printf("%s: %s\n", name, time.Since(start).Round(time.Second))
	return nil
}

func run(ctx context.Context, environment []string, program string, args ...string) error {
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), environment...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(program), err)
	}
	return nil
}
