package roles

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
)

// CheckPath refuses a path that a plan must not write: relative, not in its shortest form, in a file system of the
// kernel, or kept by the agent in another way.
func CheckPath(name string) error {
	switch {
	case name == "":
		return errors.New("empty path: name the file by its absolute path")
	case !path.IsAbs(name):
		return fmt.Errorf("%q is relative: begin it with /", name)
	case path.Clean(name) != name:
		return fmt.Errorf("%q is not in its shortest form: write %q", name, path.Clean(name))
	case name == "/":
		return errors.New(`"/" is no path to write to`)
	case name == "/etc/hosts":
		return errors.New("/etc/hosts is kept by the agent, in place, because pods mount it: " +
			"add names to your DNS, or append them with a unit of your own")
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return fmt.Errorf("%q has a character that no path should have", name)
	}
	for _, kernel := range []string{"/proc", "/sys", "/dev"} {
		if name == kernel || strings.HasPrefix(name, kernel+"/") {
			return fmt.Errorf("%q lies in a file system of the kernel: use sysctls or a unit", name)
		}
	}
	return nil
}
