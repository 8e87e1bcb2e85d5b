package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"rekindle/test/lab/standin/root"
)

// sysctl reads what systemd-sysctl would, by its rules (sysctl.d(5)), and sets nothing.
func sysctl(args []string) error {
	return dropIns("sysctl.d", args, func(line string) error {
		key, value, ok := strings.Cut(strings.TrimPrefix(line, "-"), "=")
		if !ok && strings.HasPrefix(line, "-") {
			return nil // an exclusion of a glob
		}
		if key = strings.TrimSpace(key); !ok || key == "" {
			return fmt.Errorf("%q is no assignment", line)
		}
		known := ""
		if _, err := os.Stat("/proc/sys/" + sysctlPath(key)); err != nil {
			known = " (this kernel does not have it)"
		}
		say("would set %s = %s%s", key, strings.TrimSpace(value), known)
		return nil
	})
}

// sysctlPath applies the rule of sysctl.d(5): the first separator in the name tells what the others mean.
func sysctlPath(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		return strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, key)
	}
	return key
}

var moduleName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// modulesLoad reads what systemd-modules-load would (modules-load.d(5)), and loads nothing.
func modulesLoad(args []string) error {
	return dropIns("modules-load.d", args, func(line string) error {
		if !moduleName.MatchString(line) {
			return fmt.Errorf("%q is no module", line)
		}
		say("would load %s", line)
		return nil
	})
}

// dropIns hands over the lines of the configuration files of systemd's directories: files of the same name in /etc
// hide those of /run, and these those of /usr/lib; the rest is read in the order of the names.
func dropIns(dir string, only []string, line func(string) error) error {
	paths := map[string]string{}
	for _, prefix := range []string{"/usr/lib", "/usr/local/lib", "/run", "/etc"} {
		found, err := filepath.Glob(filepath.Join(root.Path(prefix), dir, "*.conf"))
		if err != nil {
			return err
		}
		for _, f := range found {
			paths[filepath.Base(f)] = f
		}
	}
	files := make([]string, 0, len(paths))
	for _, f := range paths {
		files = append(files, f)
	}
	for _, f := range only {
		if strings.HasPrefix(f, "-") {
			return fmt.Errorf("option %s is not here", f)
		}
		files = append(files, root.Path(f))
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Compare(filepath.Base(a), filepath.Base(b)) })
	var errs []error
	for _, f := range files {
		errs = append(errs, lines(f, line))
	}
	return errors.Join(errs...)
}

func lines(path string, line func(string) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a link to /dev/null or nowhere masks a file
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var errs []error
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		if err := line(text); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", path, n, err))
		}
	}
	return errors.Join(append(errs, scanner.Err())...)
}
