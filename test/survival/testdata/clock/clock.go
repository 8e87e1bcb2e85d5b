// Package main shifts the wall clock of the agent and of etcd, over which it is laid when they are built for a test.
package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// offset is what the process adds to the machine's wall clock, in seconds.
var offset int64

// install has the runtime ask shifted, in clock_amd64.s, instead of the kernel's clock.
func install()

// The node says by how much its clock is off. The agent runs in the node's root, and its units are told where that is.
func init() {
	text, err := os.ReadFile(filepath.Join(os.Getenv("REKINDLE_ROOT"), "etc/clock-offset"))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		offset, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}
	if err != nil {
		panic(err)
	}
	install()
}
