package plan

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestMergeFlags(t *testing.T) {
	val := func(v string) *string { return &v }
	base := "\n  --a=1\n--b=2\n\n--c=x,y\n"
	for name, test := range map[string]struct {
		extra map[string]*string
		want  []string
	}{
		"nothing":     {nil, []string{"--a=1", "--b=2", "--c=x,y"}},
		"replaced":    {map[string]*string{"b": val("3")}, []string{"--a=1", "--b=3", "--c=x,y"}},
		"removed":     {map[string]*string{"b": nil}, []string{"--a=1", "--c=x,y"}},
		"emptied":     {map[string]*string{"a": val("")}, []string{"--a=", "--b=2", "--c=x,y"}},
		"added":       {map[string]*string{"z": val("1"), "d": val("2")}, []string{"--a=1", "--b=2", "--c=x,y", "--d=2", "--z=1"}},
		"none to cut": {map[string]*string{"z": nil}, []string{"--a=1", "--b=2", "--c=x,y"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mergeFlags(base, test.extra)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if _, err := mergeFlags("a=1", nil); err == nil {
		t.Error("a flag without dashes passed")
	}
	// A flag that is given twice by the role is replaced once: extra arguments never come out twice.
	if got, _ := mergeFlags("--a=1\n--a=2", map[string]*string{"a": val("3")}); !slices.Equal(got, []string{"--a=3"}) {
		t.Errorf("got %q", got)
	}
}

var quoted = []string{
	"", "plain", "a b", "it's", `say "hi"`, `$HOME and ${X}`, "`id`", `back\slash`, "100%", "~root", "a#b", "# no comment",
	"two\nlines", "a;b|c&d", "*?[x]", "ünïcode", "-n", "=", " lead and trail ",
}

// TestEnvQuoteShell gives every value to a real shell and wants it back.
func TestEnvQuoteShell(t *testing.T) {
	for _, value := range quoted {
		script := "set -u\nX=" + envQuote(value) + "\nprintf %s \"$X\""
		out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
		if err != nil || string(out) != value {
			t.Errorf("%q: the shell reads %q (%v) from %s", value, out, err, envQuote(value))
		}
	}
}

// TestWordsShell: what is joined splits into the same words again.
func TestWordsShell(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\0' "+
		strings.NewReplacer("$", `\$`, "`", "\\`").Replace(words(quoted))).CombinedOutput() // neither means anything to systemd here
	if err != nil {
		t.Fatal(err, string(out))
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if !slices.Equal(got, quoted) {
		t.Errorf("got %q\nwant %q", got, quoted)
	}
}

// TestFunctions renders each function once, as docs/roles.md describes it.
func TestFunctions(t *testing.T) {
	in := readCase(t, "events")
	m := maker{in: in, origins: map[string]string{}, config: &in.Config, plan: &Plan{}}
	m.gather()
	m.assets()
	if len(m.errs) > 0 {
		t.Fatal(m.errs)
	}
	for text, want := range map[string]string{
		`{{ json .Node.IPs }}`:                                     `["10.0.1.17"]`,
		`{{ quote "a \"b\" <c>" }}`:                                `"a \"b\" <c>"`,
		`{{ yaml (dict "b" 1 "a" "x") }}`:                          "a: x\nb: 1",
		`  {{ indent 2 (toYaml (dict "b" 1 "a" "x")) }}`:           "  a: x\n  b: 1",
		`{{ b64 "rekindle" }}`:                                     "cmVraW5kbGU=",
		`{{ join "+" (lines "a\n\n b\n") }}`:                       "a+ b",
		`{{ words (lines "a b\nc") }}`:                             `"a b" c`,
		`{{ pairs .Node.Labels }}`:                                 "topology.kubernetes.io/region=cn-north-1,topology.kubernetes.io/zone=cn-north-1a",
		`{{ env "a b" }}`:                                          `"a b"`,
		`{{ define "x" }}[{{ . }}]{{ end }}{{ include "x" 7 }}`:    "[7]",
		`{{ flags "--a=1" nil }}`:                                  "[--a=1]",
		`{{ args "kube-proxy" "--a=1" }}`:                          "[--a=1]",
		`{{ image "kube-proxy" }}`:                                 "registry.k8s.io/kube-proxy:v1.36.1",
		`{{ wanted "crictl" }}`:                                    "true",
		`{{ carries "events" "unit" }} {{ carries "main" "pod" }}`: "true false",
		`{{ (etcd "events").ClientPort }}`:                         "2381",
		`{{ len (ecrImages .Instance.DNSSuffix) }}`:                "11",
	} {
		got, err := m.render.template("test", text)
		if err != nil || got != want {
			t.Errorf("%s gives %q (%v), want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`{{ dict "a" }}`, `{{ dict 1 2 }}`, `{{ args "kube-dns" "" }}`, `{{ image "etcd" }}`, `{{ etcd "x" }}`,
		`{{ flags "a" nil }}`, `{{ include "nowhere" . }}`} {
		if got, err := m.render.template("test", text); err == nil {
			t.Errorf("%s gives %q", text, got)
		}
	}
}

func TestECRImages(t *testing.T) {
	for _, suffix := range []string{"amazonaws.com", "amazonaws.com.cn"} {
		if images := ecrImages(suffix); !slices.Contains(images, "*.dkr.ecr.*."+suffix) || len(images) != len(ecrImages("")) {
			t.Errorf("%s: %q", suffix, images)
		}
	}
	if images := ecrImages("new.gov"); images[len(images)-1] != "*.dkr.ecr.*.new.gov" {
		t.Errorf("%q", images)
	}
}

func TestIndent(t *testing.T) {
	if got := indent(2, "a\nb\n\nc"); got != "a\n  b\n  \n  c" {
		t.Errorf("%q", got)
	}
}
