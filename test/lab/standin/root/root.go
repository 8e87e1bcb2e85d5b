// Package root lets a stand-in live in a directory instead of on a machine: the paths in its flags and files are those
// of a node, and they are looked up below REKINDLE_ROOT, which the agent's process runner sets.
package root

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Path is where a path of the node really is.
func Path(path string) string {
	root := os.Getenv("REKINDLE_ROOT")
	if root == "" || !filepath.IsAbs(path) || path == root || strings.HasPrefix(path, root+"/") {
		return path
	}
	return filepath.Join(root, path)
}

// Listen opens a unix socket of the node. Its directory is entered through a descriptor, so that a deep root does not
// run into the limit of 107 bytes for the name of a socket.
func Listen(path string) (net.Listener, error) {
	path = Path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	name, done, err := short(path)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the name it knows is gone by then
	return l, nil
}

// Dial connects to a unix socket of the node.
func Dial(path string) (net.Conn, error) {
	name, done, err := short(Path(path))
	if err != nil {
		return nil, err
	}
	defer done()
	return net.Dial("unix", name)
}

func short(path string) (name string, done func(), err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}

// Ready tells the service manager that the service has started, as sd_notify(3) does.
func Ready(status string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", name)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("READY=1\nSTATUS=" + status)); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}
