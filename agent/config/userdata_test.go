package config

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"strings"
	"testing"
)

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encoded(data []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(data)) }

// Every form can be wrapped, and must read as what is inside.
func TestWrappings(t *testing.T) {
	part := func(encoding string, body []byte) []byte {
		return slicesConcat("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: ", PartType,
			"\nContent-Transfer-Encoding: ", encoding, "\n\n", string(body), "\n--B--\n")
	}
	plain := []byte("cluster: prod\nrole: master\n")
	url := []byte(base64.RawURLEncoding.EncodeToString(zipped(t, plain)))
	for name, data := range map[string][]byte{
		"plain":                    plain,
		"gzip":                     zipped(t, plain),
		"base64":                   encoded(plain),
		"base64 of gzip":           encoded(zipped(t, plain)),
		"base64 of base64":         encoded(encoded(plain)),
		"gzip of base64 of gzip":   zipped(t, encoded(zipped(t, plain))),
		"base64 of a URL":          url,
		"base64 part":              part("base64", encoded(plain)),
		"base64 part of gzip":      part("base64", encoded(zipped(t, plain))),
		"binary part of gzip":      part("binary", zipped(t, plain)),
		"plain part in base64":     part("7bit", encoded(plain)),
		"quoted-printable part":    part("quoted-printable", []byte("cluster: pr=6Fd\nrole:=\n master\n")),
		"gzip of a multipart":      zipped(t, part("8bit", plain)),
		"base64 of gzip of CRLF":   encoded(zipped(t, bytes.ReplaceAll(part("8bit", plain), []byte("\n"), []byte("\r\n")))),
		"KEY=VALUE in base64":      encoded([]byte("CLUSTER=prod\nROLE=master\n")),
		"KEY=VALUE with CRLF":      []byte("CLUSTER=prod\r\nROLE='master'\r\n"),
		"JSON":                     []byte(`{"cluster": "prod", "role": "master"}`),
		"YAML with document start": []byte("---\ncluster: prod\nrole: master\n...\n"),
	} {
		c, problems := Check(name, data)
		if c == nil || c.Cluster != "prod" || c.Role != "master" {
			t.Errorf("%s: %+v %v", name, c, problems)
		}
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

func slicesConcat(parts ...string) []byte { return []byte(strings.Join(parts, "")) }

func TestForms(t *testing.T) {
	for text, want := range map[string]Kind{
		"":                                  KindNone,
		" \r\n\t":                           KindNone,
		"# only\n\n# comments\n":            KindNone,
		"cluster: prod":                     KindYAML,
		"# c\n\n\"cluster\": prod":          KindYAML,
		"{}":                                KindYAML,
		"my key: x":                         KindYAML,
		"cluster:\n":                        KindYAML,
		"url: a=b":                          KindYAML,
		"A=b":                               KindEnv,
		"  export A=b:c":                    KindEnv,
		"ROLE=":                             KindEnv,
		"A=http://x":                        KindEnv,
		"#!/bin/sh\n":                       KindScript,
		"#cloud-config\nx: y\n":             KindScript,
		"#include\nhttp://x":                KindScript,
		"#cloud-boothook\n":                 KindScript,
		"## template: jinja\n#cloud-config": KindScript,
	} {
		layers, kind, problems := UserData([]byte(text))
		if kind != want || problems.Err() != nil {
			t.Errorf("%q is %s, want %s (%v)", text, kind, want, problems)
		}
		if (len(layers) > 0) != (want == KindYAML || want == KindEnv) {
			t.Errorf("%q gives %d layers", text, len(layers))
		}
	}
}

func TestRefusedForms(t *testing.T) {
	huge := zipped(t, bytes.Repeat([]byte("#"), maxLayer+1))
	deep := []byte("cluster: prod\n")
	for range maxWraps + 1 {
		deep = zipped(t, deep)
	}
	nested := "Content-Type: " + PartType + "\n\ncluster: x\n"
	for i := range maxNesting + 1 {
		b := string(rune('a' + i))
		nested = "Content-Type: multipart/mixed; boundary=" + b + "\n\n--" + b + "\n" + nested + "\n--" + b + "--\n"
	}
	many := "Content-Type: multipart/mixed; boundary=B\n\n" + strings.Repeat("--B\nContent-Type: text/plain\n\nx\n", maxParts+1) + "--B--\n"
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a gzip bomb":           {huge, "more than 1 MiB"},
		"a gzip bomb in base64": {encoded(huge), "more than 1 MiB"},
		"five times compressed": {deep, "more than 4 times"},
		"gzip cut off":          {zipped(t, bytes.Repeat([]byte("cluster: prod\n"), 9))[:20], "gzip: unexpected EOF"},
		"gzip with rubbish":     {append(zipped(t, []byte("a: b\n")), "rubbish"...), "gzip: "},
		"base64 cut off":        {encoded([]byte(strings.Repeat("cluster: prod\nrole: x\n", 9)))[:81], "looks like base64"},
		"zstd":                  {[]byte("\x28\xb5\x2f\xfdxxxx"), "zstd"},
		"nested multiparts":     {[]byte("MIME-Version: 1.0\n" + nested), "nested more than 4 deep"},
		"too many parts":        {[]byte("MIME-Version: 1.0\n" + many), "more than 64 parts"},
		"a word":                {[]byte("master"), "neither YAML"},
		"PowerShell":            {[]byte("<powershell>\n</powershell>"), "neither YAML"},
		"a large layer":         {append([]byte("cluster: prod\n"), bytes.Repeat([]byte("#"), maxLayer)...), "larger than 1 MiB"},
	} {
		cfg, problems := Check(name, c.data)
		if cfg != nil || !strings.Contains(problems.Errors().Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, problems, c.want)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	pad := func(n int) []byte { return []byte("cluster: prod\n#" + strings.Repeat("x", n-15)) }
	if _, problems := Check("x", pad(maxUserData)); problems != nil {
		t.Errorf("exactly at the limit: %v", problems)
	}
	c, problems := Check("x", pad(maxUserData+1))
	if c == nil || len(problems) != 1 || !problems[0].Warning || !strings.Contains(problems[0].Remedy, "cluster.yaml") {
		t.Errorf("one byte over the limit: %v", problems)
	}
}

// Lines of a part that is not encoded are those of the file, whatever stands before it.
func TestPartPositions(t *testing.T) {
	data := slicesConcat("MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary=\"out\"\n\n--out\n",
		"Content-Type: multipart/mixed; boundary=in\n\n--in\nContent-Type: ", PartType, "\n\n\ncluster: a\nbad: x\n--in--\n--out--\n")
	_, problems := Check("f", data)
	if len(problems) != 1 || problems[0].Line != 13 || problems[0].Column != 1 || !strings.Contains(problems[0].Caret(), "bad: x\n    ^") {
		t.Errorf("problems are %v\n%s", problems, problems[0].Caret())
	}
	if line := strings.Split(string(data), "\n")[12]; line != "bad: x" {
		t.Fatalf("the test itself is wrong: line 13 is %q", line)
	}
}

func TestUnquote(t *testing.T) {
	for text, want := range map[string]string{
		``: "", `a`: "a", `"a b"`: "a b", `'a b'`: "a b", `"a\"b\\c\$d"`: `a"b\c$d`, `'a\b$c'`: `a\b$c`, `a # c`: "a", `a#b`: "a#b",
		`# c`: "", `"a" # c`: "a", `a=b`: "a=b", `"it's"`: "it's", `a$`: "a$", `$1`: "$1", `"\n"`: `\n`,
	} {
		if got, problem, _ := unquote(text); got != want || problem != "" {
			t.Errorf("%s is %q (%s), want %q", text, got, problem, want)
		}
	}
	for _, text := range []string{`"a`, `'a`, `"a"b`, `a b`, `a"b`, `$A`, `${A}`, `$(a)`, "`a`", `"$A"`, "\"`a`\"", `a\`} {
		if got, problem, remedy := unquote(text); problem == "" || remedy == "" {
			t.Errorf("%s is %q, want a problem with a remedy", text, got)
		}
	}
}
