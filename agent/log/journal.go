package log

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// identifier is what `journalctl -t` selects.
const identifier = "rekindle"

// entry is one entry of the journal before it is sent.
type entry struct {
	time     time.Time // journald takes its own; this is what the record says
	message  string
	priority journal.Priority
	fields   map[string]string
}

func sendToJournal(e entry) error { return journal.Send(e.message, e.priority, e.fields) }

// journalHandler sends each record with a field per attribute. MESSAGE has the attributes too: `journalctl -u rekindle`
// shows nothing else, and a line without its path or unit helps nobody.
type journalHandler struct {
	level    slog.Leveler
	scope    scope
	fallback *textHandler // takes the records that the journal did not
	send     func(entry) error
}

func newJournal(level slog.Leveler, fallback *textHandler, send func(entry) error) *journalHandler {
	return &journalHandler{level: level, fallback: fallback, send: send}
}

func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.scope = h.scope.withGroup(name)
	return &c
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.scope = h.scope.withAttrs(attrs)
	return &c
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	fields := h.scope.record(r)
	var message bytes.Buffer
	writeLine(&message, r.Message, fields, func(_, s string) string { return s })
	e := entry{
		time:     r.Time,
		message:  message.String(),
		priority: priority(r.Level),
		fields:   map[string]string{"SYSLOG_IDENTIFIER": identifier},
	}
	for _, f := range fields {
		if name := fieldName(f.path); name != "" {
			e.fields[name] = f.value
		}
	}
	if frame, _ := runtime.CallersFrames([]uintptr{r.PC}).Next(); r.PC != 0 {
		e.fields["CODE_FILE"] = frame.File
		e.fields["CODE_LINE"] = strconv.Itoa(frame.Line)
		e.fields["CODE_FUNC"] = frame.Function
	}
	if err := h.send(e); err != nil {
		lines := *h.fallback
		lines.scope = h.scope
		return lines.Handle(ctx, r)
	}
	return nil
}

func priority(level slog.Level) journal.Priority {
	switch {
	case level >= slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	case level >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}

// reserved are the fields that journald or this package give a meaning to (systemd.journal-fields(7)). UNIT is not
// among them: it means the same here as in systemd's own entries, so that one match finds both.
var reserved = map[string]bool{
	"MESSAGE": true, "PRIORITY": true, "SYSLOG_IDENTIFIER": true, "SYSLOG_FACILITY": true, "SYSLOG_PID": true,
	"SYSLOG_TIMESTAMP": true, "SYSLOG_RAW": true, "CODE_FILE": true, "CODE_LINE": true, "CODE_FUNC": true,
	"ERRNO": true, "INVOCATION_ID": true, "USER_INVOCATION_ID": true, "DOCUMENTATION": true, "TID": true,
}

// fieldName is the path of an attribute as journald accepts it: A to Z, 0 to 9 and _, at most 64 bytes, beginning with
// a letter. A name that has another meaning gets a prefix; what has no name at all is in MESSAGE only.
func fieldName(path []string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, strings.Join(path, "_"))
	name = strings.TrimLeft(name, "_")
	if name == "" {
		return ""
	}
	if reserved[name] || name[0] >= '0' && name[0] <= '9' {
		name = "REKINDLE_" + name
	}
	return name[:min(len(name), 64)]
}
