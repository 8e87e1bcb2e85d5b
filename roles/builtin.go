package roles

import (
	"embed"
	"io/fs"
)

// "all:" keeps files whose names begin with a dot or an underscore, which go:embed leaves out otherwise.
//
//go:embed all:base all:common all:etcd all:master all:minion all:loadbalancer
var builtin embed.FS

// Builtin holds the roles that come with the agent.
func Builtin() fs.FS { return builtin }
