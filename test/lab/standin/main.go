// Command standin takes the place of programs that a laboratory without root cannot run: containerd, runc, crictl, CNI
// plugins, and systemd's helpers. It reads the same files and flags, refuses what the real one would refuse to read,
// opens the same sockets, and says that it is a stand-in. It runs no containers and changes nothing of the kernel.
//
// The name it is called by decides what it is. The stand-in for the kubelet is a command of its own (kubelet/), since
// the Kubernetes types make it large.
//
// To add one: a func(args []string) error, entered in the table below.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// version is what the stand-ins call themselves; set with -ldflags -X.
var version = "0.0.0"

var programs = map[string]func(args []string) error{
	"containerd":              containerd,
	"containerd-shim-runc-v2": shim,
	"ctr":                     ctr,
	"runc":                    runc,
	"crictl":                  crictl,
	"systemd-sysctl":          sysctl,
	"systemd-modules-load":    modulesLoad,
	"ecr-credential-provider": credentialProvider,
	"bridge":                  cni,
	"host-local":              cni,
	"loopback":                cni,
	"portmap":                 cni,
	"lab-guard":               guard,
}

func main() {
	name := filepath.Base(os.Args[0])
	program, ok := programs[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "stand-in: there is none for %s\n", name)
		os.Exit(127)
	}
	if err := program(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "stand-in %s: %v\n", name, err)
		os.Exit(1)
	}
}

// say prints a line that nobody takes for the real program's.
func say(format string, args ...any) {
	fmt.Printf("stand-in %s: %s\n", filepath.Base(os.Args[0]), fmt.Sprintf(format, args...))
}

// wantsVersion answers --version, which provisioning scripts ask of everything.
func wantsVersion(args []string, line string) bool {
	for _, a := range args {
		if a == "--version" || a == "-version" || a == "-v" {
			fmt.Println(line + " (stand-in)")
			return true
		}
	}
	return false
}
