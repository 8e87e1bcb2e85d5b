// Command etcd is the real etcd server, built from its module at the version that go.mod names, so that the lab can
// publish it into a store and nodes can run it. Members are known by names that stand in the node's hosts file, which in a
// lab is not the machine's: the process asks the one below its root.
package main

import (
	"net"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"

	"rekindle/agent/host"
)

func main() {
	if root := os.Getenv(host.RootEnv); root != "" {
		net.DefaultResolver = resolver(filepath.Join(root, "etc/hosts"))
	}
	etcdmain.Main(os.Args)
}
