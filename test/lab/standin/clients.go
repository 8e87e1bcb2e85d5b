package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"sigs.k8s.io/yaml"

	"rekindle/test/lab/standin/root"
)

// ctr knows one thing, which units that load image archives ask of it: ctr [-n NAMESPACE] images import FILE...
func ctr(args []string) error {
	if wantsVersion(args, "ctr github.com/containerd/containerd/v2 v"+version) {
		return nil
	}
	flags := flag.NewFlagSet("ctr", flag.ContinueOnError)
	address := flags.String("address", defaultSocket, "")
	flags.StringVar(address, "a", defaultSocket, "")
	namespace := flags.String("namespace", "default", "")
	flags.StringVar(namespace, "n", "default", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	rest := flags.Args()
	if len(rest) < 3 || rest[0] != "images" && rest[0] != "image" && rest[0] != "i" || rest[1] != "import" {
		return fmt.Errorf("%q: only `images import FILE` is here", rest)
	}
	importing := flag.NewFlagSet("ctr images import", flag.ContinueOnError)
	for _, name := range []string{"all-platforms", "no-unpack", "local", "digests", "discard-unpacked-layers", "sync-fs"} {
		importing.Bool(name, false, "")
	}
	for _, name := range []string{"platform", "base-name", "index-name", "snapshotter", "label"} {
		importing.String(name, "", "")
	}
	if err := importing.Parse(rest[2:]); err != nil {
		return err
	}
	conn, err := root.Dial(*address)
	if err != nil {
		return fmt.Errorf("containerd does not answer: %w", err)
	}
	conn.Close()
	for _, path := range importing.Args() {
		n, err := checkArchive(root.Path(path))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		say("%s: an image archive of %d entries, for namespace %s; not imported", path, n, *namespace)
	}
	return nil
}

// checkArchive reads a tar, plain or compressed, to its end. An image archive has an OCI index or a Docker manifest.
func checkArchive(path string) (entries int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := decompress(f)
	if err != nil {
		return 0, err
	}
	image := false
	for archive := tar.NewReader(r); ; entries++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return entries, fmt.Errorf("not a tar archive: %w", err)
		}
		image = image || h.Name == "index.json" || h.Name == "manifest.json"
	}
	if !image {
		return entries, errors.New("neither index.json nor manifest.json in it: no image archive")
	}
	return entries, nil
}

func decompress(f *os.File) (io.Reader, error) {
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(f)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstd.NewReader(f)
	}
	return f, nil
}

// crictl reads its configuration and knocks at the runtime.
func crictl(args []string) error {
	if wantsVersion(args, "crictl version v"+version) {
		return nil
	}
	var c struct {
		RuntimeEndpoint   string `json:"runtime-endpoint"`
		ImageEndpoint     string `json:"image-endpoint"`
		Timeout           int    `json:"timeout"`
		Debug             bool   `json:"debug"`
		PullImageOnCreate bool   `json:"pull-image-on-create"`
		DisablePullOnRun  bool   `json:"disable-pull-on-run"`
	}
	data, err := os.ReadFile(root.Path("/etc/crictl.yaml"))
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return fmt.Errorf("/etc/crictl.yaml: %w", err)
	}
	conn, err := root.Dial(trimScheme(c.RuntimeEndpoint))
	if err != nil {
		return fmt.Errorf("%s: %w", c.RuntimeEndpoint, err)
	}
	say("%v: %s answers; nothing runs there", args, c.RuntimeEndpoint)
	return conn.Close()
}

func trimScheme(endpoint string) string {
	const scheme = "unix://"
	if len(endpoint) > len(scheme) && endpoint[:len(scheme)] == scheme {
		return endpoint[len(scheme):]
	}
	return endpoint
}

func runc(args []string) error {
	if wantsVersion(args, "runc version "+version) {
		return nil
	}
	return errors.New("runs no containers")
}

func shim(args []string) error {
	if wantsVersion(args, "containerd-shim-runc-v2 v"+version) {
		return nil
	}
	return errors.New("runs no containers")
}

func credentialProvider(args []string) error {
	if wantsVersion(args, "ecr-credential-provider "+version) {
		return nil
	}
	return errors.New("hands out no credentials")
}

// cni answers VERSION, which runtimes ask to see whether a plugin is there.
func cni(args []string) error {
	if os.Getenv("CNI_COMMAND") != "VERSION" {
		return errors.New("sets no network up")
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"cniVersion": "1.1.0", "supportedVersions": []string{"0.4.0", "1.0.0", "1.1.0"},
	})
}
