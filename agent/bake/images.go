package bake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

const (
	ctr          = "/opt/containerd/bin/ctr"
	containerd   = "/opt/containerd/bin/containerd"
	running      = "/run/containerd/containerd.sock"
	containerDir = "/var/lib/containerd"
	scratch      = "/run/rekindle-bake" // of the containerd that is started only for this
	socket       = scratch + "/containerd.sock"

	startTimeout  = time.Minute
	importTimeout = 30 * time.Minute // of one archive: unpacking writes several GiB
)

// scratchConfig keeps a containerd that only imports from doing more. Both major versions read it.
const scratchConfig = `version = 2
root = "` + containerDir + `"
state = "` + scratch + `/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = "` + socket + `"
`

// importImages brings the archives into containerd's store, so that a first boot unpacks no layer. The archives stay:
// rekindle-images.service still imports them, and finds all of their content there. Where it cannot be done now, the
// first boot does it.
func (b *baker) importImages(ctx context.Context) error {
	archives := slices.DeleteFunc(slices.Clone(b.assets), func(a plan.Asset) bool { return path.Dir(a.Path) != imagesDir })
	if len(archives) == 0 || b.Objects == nil {
		return nil
	}
	before, known, err := b.importedBefore(archives)
	if err != nil || known {
		b.imported = before
		return err
	}
	why, err := b.cannotImport()
	if err != nil {
		return err
	}
	if why != "" {
		b.warn("container images stay archives, which the first boot imports: " + why)
		return nil
	}
	for _, a := range archives {
		b.did(apply.Change{Kind: "image", Name: a.Path, Action: "import", Detail: a.Object})
	}
	if b.Dry {
		return nil
	}
	address, stop, err := b.runtime(ctx)
	if err != nil {
		return err
	}
	for _, a := range archives {
		if err = b.importOne(ctx, address, a); err != nil {
			break
		}
		b.imported = append(b.imported, a.SHA256)
	}
	return errors.Join(err, stop())
}

// importedBefore tells whether an earlier bake imported these very archives.
func (b *baker) importedBefore(archives []plan.Asset) (sums []string, known bool, err error) {
	record, err := readRecord(b.host.Host)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	store, err := b.host.Look(containerDir)
	if err != nil || store.Kind != apply.KindDir || store.Empty {
		return nil, false, err
	}
	for _, a := range archives {
		if !slices.Contains(record.Images, a.SHA256) {
			return nil, false, nil
		}
	}
	return record.Images, true, nil
}

// cannotImport says why nothing can be imported here; empty when it can.
func (b *baker) cannotImport() (string, error) {
	if !b.Import {
		return "as asked for", nil
	}
	if os.Geteuid() != 0 {
		return "only root runs containerd", nil
	}
	if b.Dry && slices.ContainsFunc(b.assets, func(a plan.Asset) bool { return a.Unpack && strings.HasPrefix(containerd, a.Path+"/") }) {
		return "", nil // it would be there
	}
	for _, p := range []string{containerd, ctr} {
		is, err := b.host.Look(p)
		if err != nil {
			return "", err
		}
		if is.Kind != apply.KindFile {
			return "the roles bring no " + p, nil
		}
	}
	return "", nil
}

// runtime is the address of a containerd that works on the image's store: the one that runs, or one that is started.
func (b *baker) runtime(ctx context.Context) (address string, stop func() error, err error) {
	if b.host.Root() == "/" {
		if is, err := b.host.Look(running); err == nil && is.Kind == apply.KindOther {
			return running, func() error { return nil }, nil
		}
	}
	if err := b.host.MkdirAll(scratch); err != nil {
		return "", nil, err
	}
	config := scratch + "/config.toml"
	if _, err := b.host.Write(ctx, apply.File{Path: config, Mode: 0o600, Content: []byte(scratchConfig)}); err != nil {
		return "", nil, err
	}
	var said bytes.Buffer
	daemon := b.command(context.WithoutCancel(ctx), containerd, "--config", config) // ended by stop alone, in good order
	daemon.Stderr = &said
	if err := daemon.Start(); err != nil {
		return "", nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	stop = func() error {
		_ = daemon.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		select {
		case err = <-ended:
		case <-time.After(startTimeout):
			_ = daemon.Process.Kill()
			err = errors.Join(errors.New("did not end when it was told to"), <-ended)
		}
		if err != nil {
			err = fmt.Errorf("containerd: %w: %s", err, last(said.Bytes()))
		}
		return errors.Join(err, b.host.RemoveAll(scratch))
	}
	if err := b.await(ctx, ended); err != nil {
		return "", nil, errors.Join(err, stop())
	}
	return socket, stop, nil
}

// await waits until containerd answers, or has ended; then ended has its error again.
func (b *baker) await(ctx context.Context, ended chan error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("containerd: no answer within %s", startTimeout))
	defer cancel()
	defer status.Waiting(ctx, "images: containerd", "containerd to answer on "+socket)()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			ended <- err
			return errors.New("containerd ended at once")
		case <-tick.C:
			if b.command(ctx, ctr, "--address", socket, "version").Run() == nil {
				return nil
			}
		}
	}
}

func (b *baker) importOne(ctx context.Context, address string, archive plan.Asset) error {
	ctx, cancel := context.WithTimeout(ctx, importTimeout)
	defer cancel()
	out, err := b.command(ctx, ctr, "--address", address, "--namespace=k8s.io", "images", "import", archive.Path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: ctr: %w: %s", archive.Object, err, last(out))
	}
	return nil
}

// command is a program of the image, run in the image.
func (b *baker) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, program, args...)
	c.Dir, c.Env = "/", []string{"PATH=" + filepath.Dir(containerd) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if b.host.Root() != "/" {
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: b.host.Root()}
	}
	return c
}

// last is the end of what a program said.
func last(out []byte) string {
	const enough = 400 // bytes
	out = bytes.TrimSpace(out)
	return string(out[max(0, len(out)-enough):])
}
