package plan

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rekindle/agent/config"
	"rekindle/agent/facts"
	"rekindle/agent/status"
	"rekindle/roles"
)

// Input is all that a plan depends on.
type Input struct {
	Config config.Config // complete: the result of config.Load
	Facts  facts.Facts
	Role   roles.Role
	// Manifest maps the objects that the store offers to their sha256, which is empty where nobody published one. Without
	// any (a laptop, or a bare prefix that cannot be listed) digests stay empty and optional assets are left out.
	Manifest map[string]string
}

// Make says what the machine must look like. It is pure: the same Input makes the same Plan. All that is wrong is
// reported at once, with the place and the remedy.
func Make(in Input) (*Plan, error) {
	m := maker{in: in, origins: map[string]string{}, config: &in.Config, plan: &Plan{Cluster: in.Config.Cluster, Role: in.Role.Name}}
	m.make()
	if err := errors.Join(m.errs...); err != nil {
		return nil, status.Fail(m.reason(), "", err)
	}
	return m.plan, nil
}

type maker struct {
	in      Input
	config  *config.Config
	data    *Data
	render  *renderer
	plan    *Plan
	origins map[string]string // where a file's content comes from, for messages
	missing []string          // assets that the manifest lacks
	errs    []error
}

// make is the story: what is known, what the role says, what the operator says, and whether it holds together.
func (m *maker) make() {
	m.gather()
	m.assets()
	m.dirs()
	m.etcd()
	if len(m.errs) > 0 {
		return // everything after it would only repeat these
	}
	m.authorities()
	m.certs()
	m.files()
	m.operator()
	m.fileInputs()
	m.units()
	m.unknownFlags()
	m.sort()
	if len(m.errs) == 0 {
		for _, err := range Check(m.plan) {
			m.fail(m.traced(err))
		}
		m.errs = append(m.errs, checkVersion(m.data)...)
	}
}

// traced adds where to correct what is wrong with a rendered file.
func (m *maker) traced(err error) error {
	name, _, _ := strings.Cut(err.Error(), ": ")
	origin := m.origins[name]
	if setting := settings[name]; setting != "" {
		origin = setting + " in the configuration"
	}
	if origin == "" {
		return err
	}
	return fmt.Errorf("%w (it comes from %s)", err, origin)
}

// settings are the files that hold little else than one setting of the operator's.
var settings = map[string]string{
	"/etc/kubernetes/kubelet.conf.d/50-operator.conf": "kubelet.config",
	"/etc/sysctl.d/90-rekindle.conf":                  "sysctls",
	"/etc/modules-load.d/rekindle.conf":               "modules",
}

func (m *maker) reason() status.Reason {
	if len(m.missing) > 0 && len(m.errs) == 1 {
		return status.ReasonAssetMissing
	}
	return status.ReasonPlanInvalid
}

func (m *maker) fail(errs ...error) {
	m.errs = append(m.errs, slices.DeleteFunc(errs, func(err error) bool { return err == nil })...)
}

func (m *maker) warn(format string, args ...any) {
	m.plan.Warnings = append(m.plan.Warnings, fmt.Sprintf(format, args...))
}

// gather derives what the templates see.
func (m *maker) gather() {
	c, f, role := m.config, m.in.Facts, m.in.Role
	if m.plan.Cluster == "" {
		m.plan.Cluster = f.Tags.Cluster
	}
	if m.plan.Cluster == "" {
		m.fail(problem("cluster", "no name: set cluster in the configuration, or tag the instance with rekindle:cluster"))
	}
	c.Cluster = m.plan.Cluster
	d := &Data{
		Cluster: c.Cluster, Role: role.Name,
		Instance: f.Instance, Machine: f.Machine, Config: *c,
		Sysctls: c.Sysctls, Modules: c.Modules,
		controlPlane: slices.ContainsFunc(role.Files, func(f roles.File) bool { return f.Path == apiServerManifest }),
	}
	m.data = d
	m.render = &renderer{data: d, partials: role.Partials, known: map[string]bool{}, taken: map[string]bool{}}

	var warnings []string
	var errs []error
	d.Node, warnings, errs = node(c, f, role)
	m.plan.Node = d.Node.Name
	m.plan.Warnings = append(m.plan.Warnings, warnings...)
	m.fail(errs...)
	d.Kubernetes, errs = kubernetes(c, d.Node, f.Instance, d.controlPlane)
	m.fail(errs...)
	d.Etcd, errs = m.etcdData()
	m.fail(errs...)
	d.Env, errs = environment(d)
	m.fail(errs...)
	if f.Machine.Arch == "" {
		m.fail(problem("facts.machine.arch", "empty: gather the facts again with `rekindle facts`"))
	}
	if !f.Machine.CgroupV2 && d.Kubernetes.Minor >= 35 && m.hasKubelet() {
		m.warn("the kubelet of Kubernetes 1.35 and later does not start on cgroup v1: boot the machine with cgroup v2")
	}
}

// hasKubelet tells whether the role brings one.
func (m *maker) hasKubelet() bool {
	return slices.ContainsFunc(m.in.Role.Files, func(f roles.File) bool { return f.Path == kubeletConfig })
}

const kubeletConfig = "/var/lib/kubelet/config.yaml"

const apiServerManifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"

func (m *maker) dirs() {
	for _, d := range m.in.Role.Dirs {
		where := "role " + m.in.Role.Name + ": dir " + d.Path
		ok, err := m.render.when(where, d.When)
		mode, modeErr := ParseMode(cmp.Or(d.Mode, "0755"))
		if modeErr != nil {
			modeErr = problem(where, "%w", modeErr)
		}
		m.fail(err, modeErr)
		if ok {
			m.plan.Dirs = append(m.plan.Dirs, Dir{d.Path, mode})
		}
	}
}

// files renders the role's.
func (m *maker) files() {
	for _, f := range m.in.Role.Files {
		ok, err := m.render.when(f.Source, f.When)
		m.fail(err)
		if !ok {
			continue
		}
		mode, err := ParseMode(cmp.Or(f.Mode, "0644"))
		if err != nil {
			m.fail(problem(f.Source, "%w", err))
		}
		text, err := m.render.file(f)
		m.fail(err)
		m.plan.Files = append(m.plan.Files, File{
			Path: f.Path, Mode: mode, Content: text, Inputs: m.globs(f.Source, f.Inputs), Exclusive: f.Exclusive,
		})
		m.origins[f.Path] = f.Source
	}
}

// fileInputs turns the files' globs into paths, once all paths are known.
func (m *maker) fileInputs() {
	for i, f := range m.plan.Files {
		m.plan.Files[i].Inputs = slices.DeleteFunc(m.inputs(f.Inputs), func(in string) bool { return in == f.Path })
	}
}

// sort brings everything but the units into the order of the paths; units have one of their own.
func (m *maker) sort() {
	slices.SortFunc(m.plan.Dirs, func(a, b Dir) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(m.plan.Authorities, func(a, b Authority) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(m.plan.Certs, func(a, b Cert) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(m.plan.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(m.plan.Assets, func(a, b Asset) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Object, b.Object))
	})
	slices.Sort(m.plan.Warnings)
	m.plan.Warnings = slices.Compact(m.plan.Warnings)
}

// keys of a map in order.
func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
