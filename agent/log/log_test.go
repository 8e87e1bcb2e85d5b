package log

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
)

func noEnv(string) string { return "" }

func TestTextHandler(t *testing.T) {
	var buf bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		buf.Reset()
		return New(Options{Writer: &buf, Getenv: noEnv}).Handler()
	}, func(t *testing.T) map[string]any {
		return parseLine(t, strings.TrimSuffix(buf.String(), "\n"))
	})
}

// parseLine reads a line of simple words back; only the tests need it.
func parseLine(t *testing.T, line string) map[string]any {
	t.Helper()
	words := strings.Fields(line)
	m := map[string]any{}
	if at, err := time.Parse(time.RFC3339Nano, words[0]); err == nil {
		m[slog.TimeKey] = at
		words = words[1:]
	}
	m[slog.LevelKey] = words[0]
	var message []string
	for _, word := range words[1:] {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			message = append(message, word)
			continue
		}
		set(m, strings.Split(key, "."), value)
	}
	m[slog.MessageKey] = strings.Join(message, " ")
	return m
}

func set(m map[string]any, path []string, value string) {
	for _, group := range path[:len(path)-1] {
		if m[group] == nil {
			m[group] = map[string]any{}
		}
		m = m[group].(map[string]any)
	}
	m[path[len(path)-1]] = value
}

func TestJSONHandler(t *testing.T) {
	var buf bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		buf.Reset()
		return New(Options{Format: JSON, Writer: &buf, Getenv: noEnv}).Handler()
	}, func(t *testing.T) map[string]any {
		m := map[string]any{}
		if err := json.Unmarshal(buf.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		return m
	})
}

type word string

func TestTextLine(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	for _, tc := range []struct {
		name  string
		attrs []slog.Attr
		msg   string
		want  string
	}{
		{"plain", []slog.Attr{slog.String("path", "/etc/hosts"), slog.Duration("took", time.Second)}, "wrote",
			"wrote path=/etc/hosts took=1s"},
		{"quoted", []slog.Attr{slog.String("err", `a "b" c`), slog.String("empty", "")}, "no",
			`no err="a \"b\" c" empty=""`},
		{"one line", []slog.Attr{slog.String("err", "a\nb\x1b[31m")}, "x\ny\x1b[2J\tz", `x y[2J z err="a\nb\x1b[31m"`},
		{"group", []slog.Attr{slog.Group("unit", slog.String("name", "kubelet.service"))}, "started",
			"started unit.name=kubelet.service"},
		{"any", []slog.Attr{slog.Any("list", []string{"a", "b"}), slog.Any("err", errors.New("broken"))}, "odd",
			`odd list="[\"a\",\"b\"]" err=broken`},
		{"a type of its own", []slog.Attr{slog.Any("reason", word("Broken"))}, "odd", "odd reason=Broken"},
		{"message id", []slog.Attr{MessageID(MessageReady)}, "ready", "ready"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var buf bytes.Buffer
			r := slog.NewRecord(at, slog.LevelWarn, tc.msg, 0)
			r.AddAttrs(tc.attrs...)
			if err := New(Options{Writer: &buf, Getenv: noEnv}).Handler().Handle(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if want := "2026-03-14T09:26:53.000Z WARN  " + tc.want + "\n"; buf.String() != want {
				t.Errorf("got  %q\nwant %q", buf.String(), want)
			}
		})
	}
}

func TestLevel(t *testing.T) {
	var buf bytes.Buffer
	log := New(Options{Writer: &buf, Level: slog.LevelWarn, Getenv: noEnv})
	log.Info("hidden")
	log.Warn("shown")
	if got := buf.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "shown") {
		t.Errorf("got %q", got)
	}
}

func TestColourOnlyOnTerminals(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	New(Options{Writer: f, Getenv: noEnv}).Error("to a file")
	data, err := os.ReadFile(f.Name())
	if err != nil || bytes.ContainsRune(data, '\x1b') || !bytes.Contains(data, []byte("ERROR to a file")) {
		t.Errorf("got %q, %v", data, err)
	}

	var buf bytes.Buffer
	h := newText(Options{Writer: &buf, Level: slog.LevelInfo, Getenv: noEnv})
	h.colour = true
	slog.New(h).Error("to a terminal", "path", "/a")
	if got := buf.String(); !strings.Contains(got, "\x1b[1;31mERROR\x1b[0m to a terminal \x1b[2mpath=\x1b[0m/a\n") {
		t.Errorf("got %q", got)
	}
}

func TestFormatFlag(t *testing.T) {
	var f Format
	if err := f.Set("json"); err != nil || f != JSON {
		t.Errorf("got %q, %v", f, err)
	}
	if err := f.Set("yaml"); err == nil || f != JSON {
		t.Errorf("got %q, %v", f, err)
	}
}
