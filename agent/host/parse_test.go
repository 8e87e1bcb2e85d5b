package host

import (
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseCommand(t *testing.T) {
	for line, want := range map[string][]string{
		`/bin/a b  c`:                      {"/bin/a", "b", "c"},
		`/bin/a "b c" 'd "e'`:              {"/bin/a", "b c", `d "e`},
		`/bin/a --x="b c"`:                 {"/bin/a", "--x=b c"},
		`/bin/a \x41\t\u00e9\101 \q`:       {"/bin/a", "A\té" + "A", `\q`},
		`/bin/a %i %n %N %p %% ""`:         {"/bin/a", "i", "t@i.service", "t@i", "t", "%", ""},
		`/bin/a $$X ${X} pre-${X}-post`:    {"/bin/a", "$X", "one two", "pre-one two-post"},
		`/bin/a $X $NONE ${NONE} end`:      {"/bin/a", "one", "two", "", "end"},
		`/bin/a $X.y`:                      {"/bin/a", "$X.y"},
		`:/bin/a $X ${X}`:                  {"/bin/a", "$X", "${X}"},
		`-+/bin/a`:                         {"/bin/a"},
		`/bin/a \; b`:                      {"/bin/a", ";", "b"},
		`/bin/a ";" b`:                     {"/bin/a", ";", "b"},
		"/bin/a\t-c 'if true; then x; fi'": {"/bin/a", "-c", "if true; then x; fi"},
	} {
		commands, err := parseCommand(line, "t@i.service")
		if err != nil || len(commands) != 1 {
			t.Errorf("%s: %v, %v", line, commands, err)
			continue
		}
		if got := commands[0].expand(map[string]string{"X": "one two"}); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	commands, err := parseCommand(`-@/bin/a name x ; /bin/b`, "a.service")
	check(t, err)
	if len(commands) != 2 || !commands[0].ignore || commands[0].argv0 != "name" || !slices.Equal(commands[0].argv, []string{"/bin/a", "x"}) || commands[1].ignore {
		t.Errorf("%+v", commands)
	}
	for _, line := range []string{`/bin/a "b`, `@/bin/a`, `-`, `/bin/a \x4`, `/bin/a \u12`, `/bin/a %Z`, `; /bin/a`, `/bin/a \9\00`} {
		if line == `/bin/a \9\00` {
			line = `/bin/a \00`
		}
		if commands, err := parseCommand(line, "a.service"); err == nil {
			t.Errorf("%s: %+v", line, commands)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	f.Add(`-/bin/a "b c" \x41 ${X} ; b`)
	f.Fuzz(func(t *testing.T, line string) {
		commands, err := parseCommand(line, "t@i.service")
		for _, c := range commands {
			if err == nil && len(c.expand(map[string]string{"X": `"`})) == 0 {
				t.Errorf("%q: no program", line)
			}
		}
	})
}

func TestParseUnit(t *testing.T) {
	u := &unitFile{name: "a.service", settings: map[string][]string{}}
	check(t, u.parse("# c\n[Unit]\nRequires=a b\nRequires=c\n\n[Service]\nExecStart=/bin/a \\\n# in between\n  --x \\\n; also\n  --y\r\nExecStop=one\nExecStop=\nX = y=z\nRemainAfterExit=On\nLong="+strings.Repeat("l", 5000)+"\n"))
	if !slices.Equal(u.list("Unit.Requires"), []string{"a", "b", "c"}) || strings.Join(strings.Fields(u.last("Service.ExecStart", "")), " ") != "/bin/a --x --y" ||
		len(u.all("Service.ExecStop")) != 0 || u.last("Service.X", "") != "y=z" || !u.yes("Service.RemainAfterExit") || len(u.last("Service.Long", "")) != 5000 {
		t.Errorf("%q", u.settings)
	}
	for _, text := range []string{"X=1\n", "[Unit\n", "[Unit]\nnonsense\n", "[Unit]\nX=a\\"} {
		if err := u.parse(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func FuzzParseUnit(f *testing.F) {
	f.Add("[Service]\nExecStart=/bin/a \\\n b\nTimeoutStartSec=1min 3s\nRestart=always\n")
	f.Fuzz(func(_ *testing.T, text string) {
		u := &unitFile{name: "a.service", settings: map[string][]string{}}
		if u.parse(text) == nil {
			_, _ = define(u)
		}
	})
}

func TestParseEnv(t *testing.T) {
	got := parseEnv("# c\n; c\nA=1\n  B = two words  \nC=\"q \\\" \\x $Y\"\nD='s \\ ' \nE=a\\\nb\nF=\"l1\nl2\"\nbad-name=1\nnot an assignment\nG=\nH=a=b\r\nI=\"unclosed")
	want := map[string]string{"A": "1", "B": "two words", "C": `q " \x $Y`, "D": `s \`, "E": "ab", "F": "l1\nl2", "G": "", "H": "a=b", "I": "unclosed"}
	if !maps.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func FuzzParseEnv(f *testing.F) {
	f.Add("A=\"x\nB='y\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name := range parseEnv(text) {
			if !isName(name) {
				t.Errorf("%q gives %q", text, name)
			}
		}
	})
}

func TestTimespan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90": 90 * time.Second, "1min 30s": 90 * time.Second, "2h5min": 125 * time.Minute, "1.5s": 1500 * time.Millisecond, "200ms": 200 * time.Millisecond,
		"infinity": 0, "0": 0, "1d": 24 * time.Hour, "3 min": 3 * time.Minute,
	} {
		if got, err := timespan(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "5parsecs", "-3", "1..2"} {
		if got, err := timespan(text); err == nil {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestSignalOf(t *testing.T) {
	for _, text := range []string{"SIGQUIT", "QUIT", "3"} {
		if s, err := signalOf(text); err != nil || s != syscall.SIGQUIT {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
	if _, err := signalOf("SIGNONE"); err == nil {
		t.Error("no error")
	}
}

func TestArgument(t *testing.T) {
	h := root(t)
	put(t, h, File{Path: "/etc/a.conf", Mode: 0o644})
	check(t, h.MkdirAll("/run/x"))
	for arg, want := range map[string]string{
		"/etc/a.conf": h.root + "/etc/a.conf", "--config=/etc/a.conf": "--config=" + h.root + "/etc/a.conf", "/run/x/new.sock": h.root + "/run/x/new.sock",
		"unix:///run/x/s": "unix://" + h.root + "/run/x/s", "--e=unix:///run/x/s": "--e=unix://" + h.root + "/run/x/s", "/run/x/": h.root + "/run/x/",
		"/healthz": "/healthz", "/no/such/thing": "/no/such/thing", "--v=2": "--v=2", "plain": "plain", "https://h/etc/a.conf": "https://h/etc/a.conf", "": "",
	} {
		if got := h.argument(arg); got != want {
			t.Errorf("%s: %s", arg, got)
		}
	}
}

// TestProgram never finds a program outside of the root.
func TestProgram(t *testing.T) {
	h := machine(t)
	check(t, h.link("/bin/sh", "/usr/bin/sh"))
	put(t, h, File{Path: "/usr/bin/data", Mode: 0o644})
	if p, err := h.program("helper"); err != nil || p != h.root+"/usr/bin/helper" {
		t.Errorf("%s, %v", p, err)
	}
	for _, name := range []string{"/bin/sh", "sh", "/usr/bin/sh", "/usr/bin/data", "./helper", "/usr/bin"} {
		if p, err := h.program(name); err == nil {
			t.Errorf("%s: %s", name, p)
		}
	}
}

func TestEnvironment(t *testing.T) {
	h := machine(t)
	r, err := NewProcesses(h, nil, map[string]string{"EXTRA": "e", "X": "extra", "GORACE": quick["GORACE"]})
	check(t, err)
	t.Cleanup(r.Close)
	put(t, h, File{Path: "/etc/rekindle/env", Mode: 0o644, Content: []byte("X=file\nREGION=cn-north-1\n")})
	install(t, h, "a.service", "[Service]\nType=oneshot\nEnvironment=X=unit \"Y=two words\"\nEnvironmentFile=-/etc/none\nEnvironmentFile=/etc/rekindle/env\n"+
		"StateDirectory=a/b\nStateDirectoryMode=0700\nExecStart=/usr/bin/helper env=/tmp/x:X env=/tmp/y:Y env=/tmp/e:EXTRA env=/tmp/root:REKINDLE_ROOT env=/tmp/s:STATE_DIRECTORY env=/tmp/r:REGION\n")
	check(t, r.Do(t.Context(), "start", "a.service"))
	for p, want := range map[string]string{
		"/tmp/x": "file", "/tmp/y": "two words", "/tmp/e": "e", "/tmp/root": h.root, "/tmp/s": h.root + "/var/lib/a/b", "/tmp/r": "cn-north-1",
	} {
		if got := content(t, h, p); got != want {
			t.Errorf("%s: %q", p, got)
		}
	}
	if e, _ := h.Look("/var/lib/a/b"); e.Mode != 0o700 {
		t.Errorf("%+v", e)
	}
	install(t, h, "b.service", "[Service]\nEnvironmentFile=/etc/none\nExecStart=/usr/bin/helper\n")
	if err := r.Do(t.Context(), "start", "b.service"); err == nil || !strings.Contains(err.Error(), "/etc/none") {
		t.Error(err)
	}
}
