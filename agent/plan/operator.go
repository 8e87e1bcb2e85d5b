package plan

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"rekindle/agent/config"
)

const (
	manifestsDir     = "/etc/kubernetes/manifests"
	unitsDir         = "/etc/systemd/system"
	containerdConfig = "/etc/containerd/config.toml"
)

// operator adds what the configuration says beyond the role: files, static pods, units, containerd's settings; and
// patches, last, over all of it.
func (m *maker) operator() {
	m.containerd()
	for _, name := range keys(m.config.StaticPods) {
		m.staticPod(name, m.config.StaticPods[name])
	}
	for i, f := range m.config.Files {
		m.file(i, f)
	}
	for _, u := range m.config.Units {
		m.unitFiles(u)
	}
	for _, p := range m.config.Patches {
		m.patch(p)
	}
}

// put adds a file, in the place of one of the same path. Who is restarted by a change stays, and what the text may still
// ask for with InputsMark.
func (m *maker) put(origin string, f File) {
	m.origins[f.Path] = origin + " in the configuration"
	if i := m.find(f.Path); i >= 0 {
		f.Exclusive = m.plan.Files[i].Exclusive
		if strings.Contains(f.Content, InputsMark) {
			f.Inputs = m.plan.Files[i].Inputs
		}
		m.plan.Files[i] = f
		return
	}
	m.plan.Files = append(m.plan.Files, f)
}

// find is the index of a file of the plan, or -1.
func (m *maker) find(name string) int {
	return slices.IndexFunc(m.plan.Files, func(f File) bool { return f.Path == name })
}

// containerd merges the operator's TOML over the role's config.toml and writes the registries.
func (m *maker) containerd() {
	i := m.find(containerdConfig)
	if i < 0 {
		return // a role without containerd
	}
	if text := m.config.Containerd.Config; strings.TrimSpace(text) != "" {
		merged, err := mergeTOML(m.plan.Files[i].Content, text)
		if err != nil {
			m.fail(problem("containerd.config", "%w", err))
			return
		}
		m.plan.Files[i].Content = merged
	}
	for _, r := range m.config.Containerd.Registries {
		m.put("containerd.registries", File{Path: path.Join("/etc/containerd/certs.d", r.Host, "hosts.toml"), Mode: 0o644, Content: hostsTOML(r)})
	}
}

// mergeTOML lays tables over tables; any other value replaces.
func mergeTOML(base, over string) (string, error) {
	var a, b map[string]any
	if err := toml.Unmarshal([]byte(base), &a); err != nil {
		return "", tomlError(err)
	}
	if err := toml.Unmarshal([]byte(over), &b); err != nil {
		return "", tomlError(err)
	}
	out, err := toml.Marshal(mergeMaps(a, b))
	return string(out), err
}

func mergeMaps(a, b map[string]any) map[string]any {
	for key, value := range b {
		inner, ok := value.(map[string]any)
		if below, both := a[key].(map[string]any); ok && both {
			a[key] = mergeMaps(below, inner)
			continue
		}
		a[key] = value
	}
	return a
}

// hostsTOML is written by hand because containerd tries the hosts in the order of the file.
func hostsTOML(r config.Registry) string {
	var b strings.Builder
	str := func(text string) string {
		quoted, _ := toJSON(text) // a JSON string is a TOML basic string
		return quoted
	}
	if r.Server != "" {
		b.WriteString("server = " + str(r.Server) + "\n")
	}
	for _, mirror := range r.Mirrors {
		b.WriteString("\n[host." + str(mirror.URL) + "]\n  capabilities = [\"pull\", \"resolve\"]\n")
		if mirror.OverridePath {
			b.WriteString("  override_path = true\n")
		}
		if mirror.SkipVerify {
			b.WriteString("  skip_verify = true\n")
		}
		if mirror.CA != "" {
			b.WriteString("  ca = " + str(mirror.CA) + "\n")
		}
	}
	return strings.TrimPrefix(b.String(), "\n")
}

func (m *maker) staticPod(name string, pod map[string]any) {
	file := path.Join(manifestsDir, name+".yaml")
	if m.find(file) >= 0 {
		m.fail(problem("staticPods."+name, "the role has %s already: patch it, or choose another name", file))
		return
	}
	if !m.hasKubelet() {
		m.warn("staticPods.%s: left out: role %s has no kubelet to run it", name, m.plan.Role)
		return
	}
	text, err := toYAML(pod)
	m.fail(err)
	m.put("staticPods."+name, File{Path: file, Mode: 0o600, Content: text + "\n"})
}

func (m *maker) file(i int, f config.File) {
	mode, err := ParseMode(cmp.Or(f.Mode, "0644"))
	if err != nil {
		m.fail(problem("files: "+f.Path, "%w", err))
		return
	}
	text := f.Content
	if f.Template {
		if text, err = m.render.template("files["+f.Path+"]", text); err != nil {
			m.fail(err)
			return
		}
	}
	if slices.ContainsFunc(m.config.Files[:i], func(other config.File) bool { return other.Path == f.Path }) {
		m.fail(problem("files: "+f.Path, "given twice: keep one"))
	}
	m.put("files", File{Path: f.Path, Mode: mode, Content: text, From: f.From})
}

func (m *maker) unitFiles(u config.Unit) {
	if u.Content != "" {
		m.put("units", File{Path: path.Join(unitsDir, u.Name), Mode: 0o644, Content: u.Content})
	}
	for _, name := range keys(u.DropIns) {
		m.put("units", File{Path: path.Join(unitsDir, u.Name+".d", name), Mode: 0o644, Content: u.DropIns[name]})
	}
}

// patch changes a file that the plan has by now.
func (m *maker) patch(p config.Patch) {
	where := "patches: " + p.Path
	i := m.find(p.Path)
	if i < 0 {
		m.fail(problem(where, "role %s writes no such file: take one of its YAML files, %s", m.plan.Role,
			strings.Join(m.yamlFiles(), ", ")))
		return
	}
	f := &m.plan.Files[i]
	if f.From != "" {
		m.fail(problem(where, "its content is read from %s when the plan is applied: change it there", f.From))
		return
	}
	text, err := applyPatch(f.Content, p.Patch)
	if err != nil {
		m.fail(problem(where, "%w", err))
		return
	}
	f.Content = text
	m.origins[p.Path] += " and from patches"
}

func (m *maker) yamlFiles() (names []string) {
	for _, f := range m.plan.Files {
		if isYAML(f.Path, f.Content) {
			names = append(names, f.Path)
		}
	}
	slices.Sort(names)
	return names
}

// units orders what is started: mounts and the like of the operator first, because the role's may need them; then
// the role's, in its order; then the operator's other ones.
func (m *maker) units() {
	var first, last []Unit
	for _, u := range m.config.Units {
		unit := Unit{Name: u.Name, State: cmp.Or(u.State, Started)}
		// Systemd cannot enable a unit that does not say what wants it.
		unit.Enable = unit.State != Stopped && (u.Content == "" || strings.Contains(u.Content, "\n[Install]"))
		unit.Inputs = m.inputs([]string{path.Join(unitsDir, u.Name), path.Join(unitsDir, u.Name+".d", "*")})
		if slices.Contains([]string{".mount", ".automount", ".swap", ".slice"}, path.Ext(u.Name)) {
			first = append(first, unit)
		} else {
			last = append(last, unit)
		}
	}
	units := first
	for _, u := range m.in.Role.Units {
		where := "role " + m.in.Role.Name + ": unit " + u.Name
		ok, err := m.render.when(where, u.When)
		m.fail(err)
		if !ok {
			continue
		}
		units = append(units, Unit{
			Name: u.Name, State: cmp.Or(u.State, Started), Enable: u.Enable, Reload: u.Reload, Exclusive: u.Exclusive,
			Inputs: m.inputs(m.globs(where, u.Inputs)),
		})
	}
	for _, u := range append(first[:len(first):len(first)], last...) {
		// Naming a unit of the role adds drop-ins to it or changes its state; it keeps its place.
		i := slices.IndexFunc(units[len(first):], func(old Unit) bool { return old.Name == u.Name })
		switch {
		case i >= 0:
			old := &units[len(first)+i]
			old.State = u.State
			old.Inputs = slices.Compact(slices.Sorted(slices.Values(append(old.Inputs, u.Inputs...))))
		case !slices.ContainsFunc(first, func(f Unit) bool { return f.Name == u.Name }):
			units = append(units, u)
		}
	}
	m.plan.Units = units
}

// inputs are the paths of the plan that the globs match.
func (m *maker) inputs(globs []string) (all []string) {
	match := func(name string) {
		if name != "" && slices.ContainsFunc(globs, func(g string) bool { ok, _ := path.Match(g, name); return ok }) {
			all = append(all, name)
		}
	}
	for _, f := range m.plan.Files {
		match(f.Path)
	}
	for _, a := range m.plan.Assets {
		match(a.Path)
	}
	for _, a := range m.plan.Authorities {
		match(a.Path)
		match(a.Key)
		match(a.Signer)
	}
	for _, c := range m.plan.Certs {
		match(c.Path)
		match(c.Key)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
