package main

import (
	"errors"
	"io"
	"os"

	"rekindle/test/lab/node"
)

// guard is no stand-in: it belongs to a laboratory. It waits until its standard input ends, which the laboratory has open until
// it is gone, however it went. Then it ends what is left of the instances below a directory.
func guard(args []string) error {
	if len(args) != 1 {
		return errors.New("which directory?")
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return node.EndBelow(args[0])
}
