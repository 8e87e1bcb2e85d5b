package main

import (
	_ "github.com/versity/versitygw/embedgw"
	_ "go.etcd.io/etcd/server/v3/embed"
	_ "go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {}
