//go:build image

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"rekindle/agent/assets"
	"rekindle/agent/bake"
)

// With Debian's containerd as the published one, bake imports a container image into the store that instances begin with,
// layers unpacked, and leaves no process, socket or mount behind: build.sh could not unmount the disk. Others that start on
// the machine meanwhile do not keep the disk in use.
func TestImagesAreImported(t *testing.T) {
	work := t.TempDir()
	arch := runtime.GOARCH
	put(t, work, "cluster.yaml", []byte("kubernetes: {version: \"1.37.2\"}\n"))
	put(t, work, "roles/runtime/role.yaml", fmt.Appendf(nil, `description: a container runtime, and an image for it
assets:
- {object: containerd/linux/%[1]s/containerd.tar.gz, path: /opt/containerd, unpack: true}
- {object: images/linux/%[1]s/*.tar, path: /var/lib/rekindle/images, mode: "0644"}
`, arch))
	put(t, work, "containerd/linux/"+arch+"/containerd.tar.gz", debianContainerd(t))
	put(t, work, "images/linux/"+arch+"/pause.tar", imageArchive(t, "registry.example/pause:1"))
	target, err := assets.ParseTarget("dir://"+work+"/store", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := assets.Publish(t.Context(), assets.PublishOptions{Dir: work + "/publish", Target: target, Parallel: 1}); err != nil {
		t.Fatal(err)
	}
	disk := work + "/runtime.img"
	o := options{Out: disk, Cache: *cacheDir, Binary: *binary, Repository: "../..", Roles: "runtime", Store: "dir://" + work + "/store"}
	others := copyMounts(t)
	err = build(t.Context(), o)
	others()
	if err != nil {
		t.Fatal(err)
	}
	root := mounted(t, disk)
	data, err := os.ReadFile(root + "/etc/rekindle/baked.json")
	var record bake.Record
	if err == nil {
		err = json.Unmarshal(data, &record)
	}
	if err != nil || len(record.Images) != 1 {
		t.Fatalf("baked.json: %v %s", err, data)
	}
	metadata, err := os.ReadFile(root + "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db")
	if err != nil || !bytes.Contains(metadata, []byte("registry.example/pause:1")) {
		t.Errorf("containerd does not know the image: %v", err)
	}
	if layers, _ := filepath.Glob(root + "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs/pause"); len(layers) != 1 {
		t.Errorf("the layer was not unpacked: %v", layers)
	}
}

// copyMounts starts processes with copies of the mounts that the machine has at the time, as systemd and systemd-nspawn do,
// four a second, until it is told to end.
func copyMounts(t *testing.T) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		for ctx.Err() == nil {
			all.Go(func() {
				if out, err := exec.CommandContext(ctx, "unshare", "--mount", "sleep", "5").CombinedOutput(); err != nil && ctx.Err() == nil {
					t.Errorf("unshare: %v: %s", err, out)
				}
			})
			select {
			case <-ctx.Done():
			case <-time.After(250 * time.Millisecond):
			}
		}
	})
	return func() {
		cancel()
		all.Wait()
	}
}

func put(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	p := filepath.Join(dir, "publish", name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// debianContainerd is the programs of Debian's package in the layout of the project's own archive.
func debianContainerd(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	get := exec.Command("sh", "-ec", `apt-get download -qq containerd && dpkg-deb -x containerd_*.deb . && tar -C usr -czf c.tar.gz bin/containerd bin/ctr`)
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		t.Fatalf("containerd: %v: %s", err, out)
	}
	data, err := os.ReadFile(dir + "/c.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// imageArchive is an image of one layer with one file, as `docker save` writes it.
func imageArchive(t *testing.T, name string) []byte {
	t.Helper()
	layer := tarOf(t, map[string][]byte{"pause": []byte("it waits")})
	sum := sha256.Sum256(layer)
	config := fmt.Appendf(nil, `{"architecture":%q,"os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}`,
		runtime.GOARCH, hex.EncodeToString(sum[:]))
	return tarOf(t, map[string][]byte{"layer.tar": layer, "config.json": config,
		"manifest.json": fmt.Appendf(nil, `[{"Config":"config.json","RepoTags":[%q],"Layers":["layer.tar"]}]`, name)})
}

func tarOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
