// Command etcd is the real etcd server, built from its module at the version that go.mod names, so that the lab can
// publish it into a store and nodes can run it.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
