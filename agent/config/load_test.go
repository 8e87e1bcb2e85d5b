package config

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func layer(name, text string) Layer { return Layer{Name: name, Data: []byte(text)} }

func mustLoad(t *testing.T, layers ...Layer) *Config {
	t.Helper()
	c, problems := Load(layers...)
	if problems.Err() != nil {
		t.Fatalf("%v", problems)
	}
	return c
}

func TestLayersMerge(t *testing.T) {
	c := mustLoad(t,
		layer("ami", `
environment: ami
mirrors: [https://a.internal, https://b.internal]
node: {labels: {a: "1", b: "2"}, maxPods: 20}
timeouts: {unit: 1m, etcd: 1h}
kubernetes: {apiServer: {extraArgs: {v: "2", profiling: "false"}}}
kubelet: {config: {evictionHard: {a: x, b: y}, list: [1, 2], maxPods: 3}}
`),
		layer("store", `
environment: store
mirrors: [https://c.internal]
node: {labels: {b: null, c: "3"}, maxPods: null}
timeouts: {unit: null}
kubernetes: {apiServer: {extraArgs: {v: null}}}
kubelet: {config: {evictionHard: {b: z}, list: [3], maxPods: null}}
`))
	check := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	check("a scalar", c.Environment, "store")
	check("a list", c.Mirrors, []string{"https://c.internal"})
	check("a mapping", c.Node.Labels, map[string]string{"a": "1", "c": "3"})
	check("a reset number", c.Node.MaxPods, 0)
	check("a reset duration", c.Timeouts.Unit, Default().Timeouts.Unit)
	check("a duration of the lower layer", c.Timeouts.Etcd, time.Hour)
	check("free text", c.Kubelet.Config, map[string]any{"evictionHard": map[string]any{"a": "x", "b": "z"}, "list": []any{3}, "maxPods": nil})
	if v, ok := c.Kubernetes.APIServer.ExtraArgs["v"]; !ok || v != nil {
		t.Errorf("a flag set to null is %v (present %v), want nil and present: it removes the role's", v, ok)
	}
	check("another flag", *c.Kubernetes.APIServer.ExtraArgs["profiling"], "false")
}

func TestNullResetsStructs(t *testing.T) {
	r := Resolve(layer("low", "etcd: {version: 3.7.1, runAs: unit}"), layer("high", "etcd: ~"))
	if r.Config == nil || !reflect.DeepEqual(r.Config.Etcd, Default().Etcd) {
		t.Errorf("etcd is not the default: %+v %v", r.Config, r.Problems)
	}
	if _, ok := r.Origin("etcd.version"); ok {
		t.Error("the origin of a value that was reset is still known")
	}
}

func TestOrigins(t *testing.T) {
	r := Resolve(
		layer("low", "mirrors: [https://a.internal, https://b.internal]\nenv: {A: x}\n"),
		layer("unused", "# nothing\n"),
		layer("high", "cluster: prod\nmirrors:\n  - https://c.internal\n"))
	want := map[string]string{"cluster": "high:1", "mirrors": "high:3", "mirrors[0]": "high:3", "env": "low:2", "env.A": "low:2"}
	got := map[string]string{}
	for path, o := range r.Origins() {
		got[path] = o.Layer + ":" + string(rune('0'+o.Line))
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("origins are %v, want %v", got, want)
	}
	if !slices.Equal(r.Sources, []string{"low", "high"}) {
		t.Errorf("sources are %v", r.Sources)
	}
	if _, ok := r.Origin("node.name"); ok {
		t.Error("a default has an origin")
	}
}

// What two layers make together is reported where the later one was written.
func TestProblemsPointToTheLayer(t *testing.T) {
	_, problems := Load(
		layer("low", "kubernetes:\n  serviceCIDRs: [10.96.0.0/12]\n"),
		layer("high", "# comment\nkubernetes: {podCIDRs: [10.100.0.0/16]}\n"))
	errs := problems.Errors()
	if len(errs) != 1 || errs[0].File != "high" || errs[0].Line != 2 || errs[0].Column != 25 {
		t.Errorf("problems are %v", problems)
	}
	if !errors.Is(problems.Err(), ErrInvalid) {
		t.Error("the error is not ErrInvalid")
	}
}

// A wrong layer must not change what the others gave, and hides no mistake of theirs.
func TestAllLayersAreReported(t *testing.T) {
	c, problems := Load(layer("a", "clusterr: x\n"), layer("b", "role: [\n"), layer("c", "store: ftp://x\n"))
	if c != nil {
		t.Error("a Config in spite of errors")
	}
	for _, file := range []string{"a", "b", "c"} {
		if !slices.ContainsFunc(problems, func(p Problem) bool { return p.File == file }) {
			t.Errorf("nothing about layer %s in:\n%v", file, problems)
		}
	}
}

func TestDerived(t *testing.T) {
	for family, want := range map[string][]string{
		"ipv4": {"100.64.0.10"}, "ipv6": {"fd00:64::a"}, "dual": {"100.64.0.10", "fd00:64::a"},
	} {
		c := mustLoad(t, layer("x", "node: {ipFamily: "+family+"}"))
		if !slices.Equal(c.Kubernetes.ClusterDNS, want) {
			t.Errorf("%s: DNS is %v, want %v", family, c.Kubernetes.ClusterDNS, want)
		}
	}
	c := mustLoad(t, layer("x", "cluster: prod\nkubernetes: {imageRepository: registry.internal/k8s}"))
	if c.Containerd.SandboxImage != "registry.internal/k8s/pause:3.10.1" || c.APIURL() != "https://api.internal.prod:6443" {
		t.Errorf("sandbox image %s, API %s", c.Containerd.SandboxImage, c.APIURL())
	}
}

func TestTenthAddress(t *testing.T) {
	for network, want := range map[string]string{
		"10.0.0.0/16": "10.0.0.10", "10.0.0.128/25": "10.0.0.138", "10.0.3.240/28": "10.0.3.250",
		"fd00::/108": "fd00::a", "fd00::fff0/124": "fd00::fffa", "10.255.255.0/24": "10.255.255.10",
	} {
		if got := tenth(netip.MustParsePrefix(network)).String(); got != want {
			t.Errorf("tenth address of %s is %s, want %s", network, got, want)
		}
	}
}

func TestComplete(t *testing.T) {
	c := mustLoad(t, layer("x", "role: master"))
	var paths []string
	for _, p := range c.Complete() {
		paths = append(paths, p.Path)
	}
	if want := []string{"cluster", "store", "kubernetes.version"}; !slices.Equal(paths, want) {
		t.Errorf("incomplete: %v, want %v", paths, want)
	}
	c = mustLoad(t, layer("x", "{role: minion, cluster: a, store: s3://bucket, kubernetes: {version: 1.37.2}}"))
	if problems := c.Complete(); problems != nil {
		t.Errorf("complete, but %v", problems)
	}
}

func TestOverlaps(t *testing.T) {
	vpc := []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16"), netip.MustParsePrefix("100.100.0.0/16")}
	c := mustLoad(t)
	if got := c.Overlaps(vpc); len(got) != 2 || got[0].Path != "kubernetes.serviceCIDRs[0]" || got[1].Path != "kubernetes.podCIDRs[0]" {
		t.Errorf("overlaps are %v", got)
	}
	c.Node.ENIPods = true
	if got := c.Overlaps(vpc); len(got) != 1 {
		t.Errorf("pods of the VPC CNI are in the VPC, but: %v", got)
	}
}

func TestLocation(t *testing.T) {
	for ref, want := range map[Ref]Location{
		"s3:files/x.key":    {Kind: "store", Path: "files/x.key"},
		"s3://bucket/a/b":   {Kind: "s3", Bucket: "bucket", Path: "a/b"},
		"ssm:/prod/webhook": {Kind: "ssm", Path: "/prod/webhook"},
		"file:/etc/x":       {Kind: "file", Path: "/etc/x"},
	} {
		if got, err := ref.Location(); err != nil || got != want {
			t.Errorf("%s is %+v (%v), want %+v", ref, got, err, want)
		}
	}
	for _, ref := range []Ref{"", "x", "s3:", "s3:/x", "s3://b/x", "s3://bucket/", "s3:a/../../b", "ssm:x", "file:x", "file:/", "file:/a/../b", "https://x/y"} {
		if got, err := ref.Location(); err == nil {
			t.Errorf("%q is %+v, want an error", ref, got)
		}
	}
}

func TestAliasesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("kubelet:\n  config:\n    a0: &a0 [\"" + strings.Repeat("x", 1000) + "\"]\n")
	for i := 1; i < 20; i++ {
		n, m := string(rune('a'+i)), string(rune('a'+i-1))
		if i == 1 {
			m = "a0"
		}
		b.WriteString("    " + n + ": &" + n + " [" + strings.TrimSuffix(strings.Repeat("*"+m+", ", 10), ", ") + "]\n")
	}
	start := time.Now()
	if c, problems := Load(layer("bomb", b.String())); c != nil || !strings.Contains(problems.Error(), "too much") {
		t.Errorf("the bomb gave %v", problems)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestPrintIsBounded(t *testing.T) {
	var b strings.Builder
	for range 500 {
		b.WriteString("- 1\n")
	}
	_, problems := Load(layer("x", "mirrors:\n"+b.String()))
	if len(problems) != 500 || strings.Count(problems.Error(), "\n") != shown || !strings.HasSuffix(problems.Error(), "and 400 more") {
		t.Errorf("%d problems printed as %d lines", len(problems), strings.Count(problems.Error(), "\n")+1)
	}
}

// Small things of a boot must stay small: the store's cluster.yaml and user-data load in about a millisecond.
func BenchmarkLoad(b *testing.B) {
	data := read(b, "testdata/full.good.yaml")
	for b.Loop() {
		if c, problems := Check("x", data); c == nil {
			b.Fatal(problems)
		}
	}
}
