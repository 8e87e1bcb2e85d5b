package log

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/slogtest"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

// collect returns a logger and the entries that it sent.
func collect(t *testing.T, refuse error) (*slog.Logger, *[]entry, *bytes.Buffer) {
	t.Helper()
	var entries []entry
	var fallback bytes.Buffer
	o := Options{Writer: &fallback, Level: slog.LevelInfo, Getenv: noEnv}
	return slog.New(newJournal(o.Level, newText(o), func(e entry) error {
		if refuse == nil {
			entries = append(entries, e)
		}
		return refuse
	})), &entries, &fallback
}

func TestJournalHandler(t *testing.T) {
	var entries *[]entry
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		var log *slog.Logger
		log, entries, _ = collect(t, nil)
		return log.Handler()
	}, func(t *testing.T) map[string]any {
		e := (*entries)[0]
		m := parseLine(t, "INFO "+e.message) // MESSAGE has the attributes as well
		m[slog.LevelKey] = int(e.priority)
		if !e.time.IsZero() {
			m[slog.TimeKey] = e.time
		}
		return m
	})
}

func TestJournalFields(t *testing.T) {
	log, entries, _ := collect(t, nil)
	log.With("instance", "i-0abc").WithGroup("unit").Error("stopped", "name", "kubelet.service", "exit-code", 137)
	log.Info("ready", MessageID(MessageReady), "message", "not the message", "_pid", 1, "9lives", "x", "é", "y")
	got := *entries
	for i, e := range got {
		if file := e.fields["CODE_FILE"]; filepath.Base(file) != "journal_test.go" {
			t.Errorf("CODE_FILE of %q is %q", e.message, file)
		}
		for _, field := range []string{"CODE_FILE", "CODE_LINE", "CODE_FUNC"} {
			delete(got[i].fields, field)
		}
	}
	want := []map[string]string{
		{"SYSLOG_IDENTIFIER": "rekindle", "INSTANCE": "i-0abc", "UNIT_NAME": "kubelet.service", "UNIT_EXIT_CODE": "137"},
		{"SYSLOG_IDENTIFIER": "rekindle", "MESSAGE_ID": MessageReady, "REKINDLE_MESSAGE": "not the message", "PID": "1",
			"REKINDLE_9LIVES": "x"},
	}
	if diff := cmp.Diff(want, []map[string]string{got[0].fields, got[1].fields}); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if want := "stopped instance=i-0abc unit.name=kubelet.service unit.exit-code=137"; got[0].message != want {
		t.Errorf("MESSAGE is %q, want %q", got[0].message, want)
	}
	if got[0].priority != journal.PriErr || got[1].priority != journal.PriInfo {
		t.Errorf("priorities are %d and %d", got[0].priority, got[1].priority)
	}
}

func TestJournalFieldNames(t *testing.T) {
	valid := regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)
	for _, path := range [][]string{{"a"}, {"__x"}, {"1"}, {strings.Repeat("long", 40)}, {"priority"}, {"G", "h i"}} {
		if name := fieldName(path); !valid.MatchString(name) || reserved[name] {
			t.Errorf("%q became %q", path, name)
		}
	}
	if name := fieldName([]string{"_"}); name != "" {
		t.Errorf("no name became %q", name)
	}
}

func TestJournalRefuses(t *testing.T) {
	log, _, fallback := collect(t, errors.New("no socket"))
	log.With("path", "/a").Warn("kept")
	if got := fallback.String(); !strings.Contains(got, "WARN  kept path=/a\n") {
		t.Errorf("the record went nowhere: %q", got)
	}
}

func TestMessageIDs(t *testing.T) {
	valid := regexp.MustCompile(`^[0-9a-f]{32}$`)
	if !valid.MatchString(MessageReady) || !valid.MatchString(MessageFailed) || MessageReady == MessageFailed {
		t.Errorf("%q and %q", MessageReady, MessageFailed)
	}
}
