// Command etcd is the real etcd server, built from its module at the version that go.mod names, so that the lab can
// publish it into a store and nodes can run it.
//
// It knows one thing more: the configuration file is looked up below REKINDLE_ROOT, since a lab's node is a directory.
package main

import (
	"os"
	"strings"

	"go.etcd.io/etcd/server/v3/etcdmain"

	"rekindle/test/lab/standin/root"
)

func main() {
	args := os.Args
	for i := 1; i < len(args); i++ {
		flag, value, joined := strings.Cut(args[i], "=")
		switch {
		case strings.TrimLeft(flag, "-") != "config-file":
		case joined:
			args[i] = flag + "=" + root.Path(value)
		case i+1 < len(args):
			args[i+1] = root.Path(args[i+1])
		}
	}
	etcdmain.Main(args)
}
