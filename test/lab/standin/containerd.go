package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"rekindle/test/lab/standin/root"
)

const defaultSocket = "/run/containerd/containerd.sock"

// containerd reads its configuration and every registry's, and listens where the kubelet will look for it.
func containerd(args []string) error {
	if wantsVersion(args, "containerd github.com/containerd/containerd/v2 v"+version) {
		return nil
	}
	flags := flag.NewFlagSet("containerd", flag.ContinueOnError)
	path := flags.String("config", "/etc/containerd/config.toml", "")
	flags.StringVar(path, "c", *path, "")
	level := flags.String("log-level", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := readConfig(root.Path(*path))
	if err != nil {
		return fmt.Errorf("%s: %w", *path, err)
	}
	registries, err := readRegistries(c)
	if err != nil {
		return err
	}
	say("log level %q, %s", *level, c.summary())
	say("registries: %v", registries)

	socket := c.GRPC.Address
	if socket == "" {
		socket = defaultSocket
	}
	l, err := root.Listen(socket)
	if err != nil {
		return fmt.Errorf("socket %s: %w", socket, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		<-ctx.Done()
		l.Close()
	}()
	say("listening on %s", socket)
	if err := root.Ready("listening"); err != nil {
		return err
	}
	return accept(l)
}

// accept takes connections and closes them: there is no runtime behind the socket.
func accept(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			say("stopped")
			return nil
		}
		if err != nil {
			return err
		}
		conn.Close()
	}
}

// readRegistries checks certs.d and lists the registries that it configures.
func readRegistries(c *config) ([]string, error) {
	dir := c.Plugins.Images.Registry.ConfigPath
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(root.Path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // as the real one does: no mirrors then
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name(), "hosts.toml")
		if err := checkHosts(root.Path(path)); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		names = append(names, e.Name())
	}
	return names, nil
}
