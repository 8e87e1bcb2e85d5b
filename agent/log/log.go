// Package log makes the agent's slog.Logger: to the journal with one field per attribute, to a terminal as lines that a
// person reads, or as JSON. Nobody else in the agent knows where the log goes.
//
// Values whose key looks like a secret, and the credentials in a presigned URL, are replaced before they go anywhere.
package log

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/term"
)

// Format is how records are written. It is a flag value.
type Format string

// The formats.
const (
	Auto Format = ""     // the journal when standard error goes there, else text
	Text Format = "text" // lines for a person
	JSON Format = "json" // one object per line, keys as in slog.JSONHandler
)

// The journal's MESSAGE_ID of the two records that end a boot: journalctl MESSAGE_ID=...
const (
	MessageReady  = "dd4b170223144f56b48dfa852486f29c"
	MessageFailed = "593667b1cc134005bf86fcf1ffa98f27"
)

const messageIDKey = "MESSAGE_ID"

// MessageID marks a record as the one that MessageReady or MessageFailed stands for.
func MessageID(id string) slog.Attr { return slog.String(messageIDKey, id) }

// Options says where the log goes. The zero value is what the agent runs with.
type Options struct {
	Format Format
	Level  slog.Leveler // slog.LevelInfo when nil
	Writer io.Writer    // os.Stderr when nil; a writer given here is never taken for the journal
	Getenv func(string) string
}

// New makes a logger. It does not touch slog's default.
func New(o Options) *slog.Logger {
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	isJournal := false
	if o.Writer == nil {
		o.Writer = os.Stderr
		isJournal, _ = journal.StderrIsJournalStream() // unknown is no: lines on standard error get there too
	}
	switch {
	case o.Format == JSON:
		return slog.New(slog.NewJSONHandler(o.Writer, &slog.HandlerOptions{Level: o.Level, ReplaceAttr: redact}))
	case o.Format == Auto && isJournal:
		return slog.New(newJournal(o.Level, newText(o), sendToJournal))
	}
	return slog.New(newText(o))
}

// colour follows no-color.org.
func (o Options) colour() bool {
	return isTerminal(o.Writer) && o.Getenv("NO_COLOR") == "" && o.Getenv("TERM") != "dumb"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

var errFormat = errors.New("use text or json")

// Set parses the value of a flag.
func (f *Format) Set(s string) error {
	switch v := Format(s); v {
	case Text, JSON:
		*f = v
		return nil
	}
	return fmt.Errorf("log format %q: %w", s, errFormat)
}

func (f *Format) String() string { return string(*f) }

// Type is what the usage of a flag shows.
func (f *Format) Type() string { return "text|json" }
