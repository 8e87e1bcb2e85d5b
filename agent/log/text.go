package log

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// textHandler writes lines: time, level, message, key=value. On a terminal the time is short and the level coloured.
type textHandler struct {
	level  slog.Leveler
	layout string
	colour bool
	scope  scope

	mu *sync.Mutex // of the writer, shared by all that stem from one New
	w  io.Writer
}

func newText(o Options) *textHandler {
	h := &textHandler{level: o.Level, layout: "2006-01-02T15:04:05.000Z07:00", colour: o.colour(), mu: new(sync.Mutex), w: o.Writer}
	if isTerminal(o.Writer) {
		h.layout = "15:04:05.000"
	}
	return h
}

func (h *textHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.scope = h.scope.withGroup(name)
	return &c
}

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.scope = h.scope.withAttrs(attrs)
	return &c
}

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	if !r.Time.IsZero() {
		b.WriteString(r.Time.Round(0).Format(h.layout) + " ")
	}
	level := r.Level.String()
	b.WriteString(h.paint(levelColour(r.Level), level) + strings.Repeat(" ", max(6-len(level), 1)))
	writeLine(&b, r.Message, h.scope.record(r), h.paint)
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.w.Write(b.Bytes())
	return err
}

func levelColour(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "1;31"
	case level >= slog.LevelWarn:
		return "33"
	case level >= slog.LevelInfo:
		return "32"
	}
	return "2"
}

func (h *textHandler) paint(code, s string) string {
	if !h.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// writeLine writes the message and its fields on one line, whatever is in them.
func writeLine(b *bytes.Buffer, message string, fields []field, paint func(code, s string) string) {
	b.WriteString(oneLine(Redact(message)))
	for _, f := range fields {
		key := strings.Join(f.path, ".")
		if key == messageIDKey {
			continue
		}
		b.WriteString(" " + paint("2", quote(key)+"=") + quote(f.value))
	}
}

// quote puts quotes around what would be more than one word, or none, or a broken line.
func quote(s string) string {
	plain := func(r rune) bool {
		return unicode.IsPrint(r) && r != ' ' && r != '"' && r != '=' && r != unicode.ReplacementChar
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return strconv.Quote(s)
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}
