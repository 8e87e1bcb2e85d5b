package plan

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"rekindle/roles"
)

// Check finds what would keep a plan from working, all of it: paths, duplicates, and every Kubernetes object, unit, TOML
// file and environment file in it, decoded as strictly as what reads it on the node, or stricter.
func Check(p *Plan) []error {
	var errs []error
	errs = append(errs, checkPaths(p)...)
	errs = append(errs, checkPKI(p)...)
	errs = append(errs, checkInputs(p)...)
	for _, f := range p.Files {
		if f.From != "" {
			continue // known only when the plan is applied
		}
		for _, err := range checkFile(f) {
			errs = append(errs, problem(f.Path, "%w", err))
		}
	}
	errs = append(errs, checkUnits(p)...)
	return errs
}

// checkFile chooses the reader by where the file lies.
func checkFile(f File) []error {
	switch dir, name := path.Split(f.Path); {
	case strings.HasPrefix(dir, kubeletDropIns+"/"):
		return checkDropIn(name, f.Content)
	case strings.HasPrefix(dir, manifestsDir+"/"):
		if strings.HasPrefix(name, ".") {
			return []error{problem(name, "the kubelet ignores files that begin with a dot: rename it")}
		}
		return checkStaticPod(f.Content)
	case strings.HasPrefix(dir, unitsDir+"/") && strings.HasSuffix(dir, ".d/"):
		return checkUnitFile(path.Base(strings.TrimSuffix(dir, ".d/")), f.Content, true)
	case dir == unitsDir+"/":
		return checkUnitFile(name, f.Content, false)
	case strings.HasPrefix(dir, "/etc/containerd/") && path.Ext(name) == ".toml":
		return checkTOML(f.Content)
	case dir == "/etc/sysctl.d/":
		return checkSysctls(f.Content)
	case strings.HasPrefix(f.Content, "apiVersion:") || path.Ext(name) == ".yaml" || path.Ext(name) == ".yml":
		return checkObject(f.Content)
	}
	return nil
}

// checkPaths looks at paths, duplicates, and files in the way of directories.
func checkPaths(p *Plan) (errs []error) {
	owner := map[string]string{}
	var files []string
	claim := func(kind, name string) {
		if err := roles.CheckPath(name); err != nil {
			errs = append(errs, problem(kind, "%w", err))
		}
		if other := owner[name]; other != "" {
			errs = append(errs, problem(name, "is there twice, as %s and as %s: keep one", other, kind))
		}
		owner[name] = kind
	}
	for _, d := range p.Dirs {
		claim("dir", d.Path)
	}
	for _, f := range p.Files {
		claim("file", f.Path)
		files = append(files, f.Path)
		if f.Mode == 0 {
			errs = append(errs, problem(f.Path, "mode 0000: nobody could read it"))
		}
		if f.Content != "" && f.From != "" {
			errs = append(errs, problem(f.Path, "has content and a place to read it from: keep one"))
		}
	}
	archives := map[string]string{}
	for _, a := range p.Assets {
		if a.Unpack {
			if err := roles.CheckPath(a.Path); err != nil {
				errs = append(errs, problem("asset "+a.Object, "%w", err))
			}
			// What an archive brought is recorded by its directory, so that it can be removed again.
			if other := archives[a.Path]; other != "" {
				errs = append(errs, problem("asset "+a.Object, "unpacks into %s like %s: give it a directory of its own", a.Path, other))
			}
			archives[a.Path] = a.Object
			continue
		}
		claim("asset", a.Path)
		files = append(files, a.Path)
	}
	for _, a := range p.Authorities {
		for _, name := range []string{a.Path, a.Key, a.Signer} {
			if name != "" {
				claim("authority "+a.Name, name)
				files = append(files, name)
			}
		}
	}
	for _, c := range p.Certs {
		claim("cert", c.Path)
		files = append(files, c.Path)
		if c.Key != "" {
			claim("key of cert "+c.Path, c.Key)
			files = append(files, c.Key)
		}
	}
	for _, e := range p.Etcd {
		claim("etcd configuration", e.ConfigPath)
		claim("etcd data", e.DataDir)
	}
	for _, f := range files {
		for dir := path.Dir(f); dir != "/" && dir != "."; dir = path.Dir(dir) {
			if slices.Contains(files, dir) {
				errs = append(errs, problem(f, "lies under %s, which is a file", dir))
			}
		}
	}
	seen := map[string]bool{}
	for _, u := range p.Units {
		if seen[u.Name] {
			errs = append(errs, problem("unit "+u.Name, "is there twice: keep one"))
		}
		seen[u.Name] = true
	}
	return errs
}

var sysctlName = regexp.MustCompile(`^-?[A-Za-z0-9_*-]+([./][A-Za-z0-9_*-]+)+$`)

// checkSysctls reads sysctl.d(5).
func checkSysctls(text string) (errs []error) {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !found || !sysctlName.MatchString(name) || strings.TrimSpace(value) == "" {
			errs = append(errs, problem(lineAt(i+1), "%q is no setting: write name = value", line))
		}
	}
	return errs
}
