package host

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"rekindle/agent/plan"
)

// searchPath is where a program without a path is looked for.
var searchPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// RootEnv is the variable that tells a process of the process runner where its root is.
const RootEnv = "REKINDLE_ROOT"

// environ is the environment of a unit's processes: systemd's own, and what the unit adds.
func (d *definition) environ(h *Host, extra map[string]string) (map[string]string, error) {
	var search []string
	for _, dir := range searchPath {
		real, err := h.Path(dir)
		if err != nil {
			return nil, err
		}
		search = append(search, real)
	}
	home, err := h.Path("/root")
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"PATH": strings.Join(search, ":"), "LANG": "C.UTF-8", "HOME": home, "USER": "root", "LOGNAME": "root", RootEnv: h.root,
	}
	maps.Copy(env, extra)
	for _, line := range d.all("Service.Environment") {
		words, err := splitWords(line)
		if err != nil {
			return nil, fmt.Errorf("Environment=%s: %w", line, err)
		}
		for _, w := range words {
			text, err := specifiers(w.text, d.name)
			if err != nil {
				return nil, err
			}
			if name, value, ok := strings.Cut(text, "="); ok && isName(name) {
				env[name] = value
			}
		}
	}
	for _, file := range d.all("Service.EnvironmentFile") {
		file, optional := strings.CutPrefix(file, "-")
		file, err := specifiers(file, d.name)
		if err != nil {
			return nil, err
		}
		data, err := h.Read(file)
		if optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("EnvironmentFile=%w", err)
		}
		maps.Copy(env, parseEnv(string(data)))
	}
	return env, nil
}

// parseEnv reads an environment file: NAME=value lines, with quotes that may span lines, and comments. Lines that are
// none of these are passed over, as systemd does.
func parseEnv(text string) map[string]string {
	env := map[string]string{}
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimLeft(strings.TrimRight(line, "\r"), " \t")
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || !isName(name) || strings.HasPrefix(line, ";") {
			continue
		}
		value = strings.TrimLeft(value, " \t")
		var out strings.Builder
		open := byte(0)
		for i := 0; ; i++ {
			if i == len(value) {
				if open == 0 || text == "" {
					break
				}
				out.WriteByte('\n') // the quote goes on
				value, text, _ = strings.Cut(text, "\n")
				i = -1
				continue
			}
			switch c := value[i]; {
			case c == '\\' && open != '\'' && i+1 < len(value):
				i++
				if open == '"' && !strings.ContainsRune("\"\\`$", rune(value[i])) {
					out.WriteByte('\\')
				}
				out.WriteByte(value[i])
			case c == '\\' && open != '\'' && text != "": // the line goes on
				value, text, _ = strings.Cut(text, "\n")
				i = -1
			case open != 0 && c == open:
				open = 0
			case open == 0 && (c == '"' || c == '\'') && strings.TrimSpace(out.String()) == "":
				open = c
			default:
				out.WriteByte(c)
			}
		}
		env[name] = strings.TrimRight(out.String(), " \t")
	}
	return env
}

// directories makes what RuntimeDirectory= and its kin ask for, below the root, and puts their paths into env.
func (d *definition) directories(h *Host, env map[string]string) error {
	for _, kind := range []struct{ key, base, variable string }{
		{"RuntimeDirectory", "/run", "RUNTIME_DIRECTORY"},
		{"StateDirectory", "/var/lib", "STATE_DIRECTORY"},
		{"CacheDirectory", "/var/cache", "CACHE_DIRECTORY"},
		{"LogsDirectory", "/var/log", "LOGS_DIRECTORY"},
		{"ConfigurationDirectory", "/etc", "CONFIGURATION_DIRECTORY"},
	} {
		var paths []string
		for _, name := range d.list("Service." + kind.key) {
			name, err := specifiers(name, d.name)
			if err != nil {
				return err
			}
			name, _, _ = strings.Cut(name, ":") // an alias after the colon
			if !filepath.IsLocal(name) {
				return fmt.Errorf("%s=%s: not below %s", kind.key, name, kind.base)
			}
			mode, err := plan.ParseMode(d.last("Service."+kind.key+"Mode", "0755"))
			if err != nil {
				return fmt.Errorf("%sMode: %w", kind.key, err)
			}
			p := path.Join(kind.base, name)
			if err := h.MkdirAll(path.Dir(p)); err != nil {
				return err
			}
			if err := h.Mkdir(p, mode); err != nil {
				return err
			}
			real, err := h.Path(p)
			if err != nil {
				return err
			}
			paths = append(paths, real)
		}
		if len(paths) > 0 {
			env[kind.variable] = strings.Join(paths, ":")
		}
	}
	return nil
}

// program is the real path of a command's program. It is looked for below the root only: a unit of a lab's node must
// never run the modprobe of the machine that the lab runs on.
func (h *Host) program(name string) (string, error) {
	candidates := []string{name}
	if !path.IsAbs(name) {
		if strings.Contains(name, "/") {
			return "", fmt.Errorf("%s: neither an absolute path nor a name", name)
		}
		candidates = nil
		for _, dir := range searchPath {
			candidates = append(candidates, path.Join(dir, name))
		}
	}
	for _, c := range candidates {
		real, err := h.Path(c)
		if err != nil {
			return "", err
		}
		if info, err := os.Stat(real); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return real, nil
		}
	}
	return "", fmt.Errorf("%s: no such program below %s", name, h.root)
}

// argument puts the root before a path in an argument: "/etc/x", "--config=/etc/x" and "unix:///run/x.sock", if the
// path exists below the root, or its directory does.
func (h *Host) argument(arg string) string {
	if h.root == "/" {
		return arg
	}
	before, value := "", arg
	if !strings.HasPrefix(arg, "/") {
		if i := strings.Index(arg, "="); i >= 0 {
			before, value = arg[:i+1], arg[i+1:]
		}
		if rest, ok := strings.CutPrefix(value, "unix://"); ok {
			before, value = before+"unix://", rest
		}
	}
	if !path.IsAbs(value) {
		return arg
	}
	real, err := h.Path(value)
	if err != nil {
		return arg
	}
	_, err = os.Lstat(real)
	if err != nil && real != h.root {
		if path.Dir(path.Clean(value)) == "/" {
			return arg
		}
		_, err = os.Lstat(filepath.Dir(real))
	}
	if err != nil {
		return arg
	}
	if strings.HasSuffix(value, "/") {
		real += "/"
	}
	return before + real
}

func flatten(env map[string]string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
