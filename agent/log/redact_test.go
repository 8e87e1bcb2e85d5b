package log

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

const hidden = "hunter2"

func TestSecretsAreNeverLogged(t *testing.T) {
	secrets := map[string]func(*slog.Logger){
		"key":       func(l *slog.Logger) { l.Info("x", "password", hidden) },
		"spelling":  func(l *slog.Logger) { l.Info("x", "Client-Secret", hidden) },
		"header":    func(l *slog.Logger) { l.Info("x", "X-aws-ec2-metadata-token", hidden) },
		"with":      func(l *slog.Logger) { l.With("sessionToken", hidden).Info("x") },
		"group":     func(l *slog.Logger) { l.WithGroup("credentials").Info("x", "id", hidden) },
		"inner":     func(l *slog.Logger) { l.Info("x", slog.Group("a", slog.Group("secrets", "b", hidden))) },
		"value":     func(l *slog.Logger) { l.Info("x", "token", valuer{}) },
		"presigned": func(l *slog.Logger) { l.Info("x", "url", "https://sts/?a=b&X-Amz-Signature="+hidden+"&c=d") },
		"lower":     func(l *slog.Logger) { l.Info("x", "url", "https://sts/?x-amz-security-token="+hidden) },
		"in error":  func(l *slog.Logger) { l.Info("x", "err", errors.New(`Get "https://u:`+hidden+`@host/": refused`)) },
		"message":   func(l *slog.Logger) { l.Info("get https://u:" + hidden + "@host/") },
	}
	loggers := map[string]func(*testing.T, *bytes.Buffer) *slog.Logger{
		"text": func(_ *testing.T, b *bytes.Buffer) *slog.Logger { return New(Options{Writer: b, Getenv: noEnv}) },
		"json": func(_ *testing.T, b *bytes.Buffer) *slog.Logger {
			return New(Options{Format: JSON, Writer: b, Getenv: noEnv})
		},
		"journal": func(_ *testing.T, b *bytes.Buffer) *slog.Logger {
			o := Options{Writer: b, Level: slog.LevelInfo, Getenv: noEnv}
			return slog.New(newJournal(o.Level, newText(o), func(e entry) error {
				b.WriteString(e.message)
				for name, value := range e.fields {
					b.WriteString("\n" + name + "=" + value)
				}
				return nil
			}))
		},
	}
	for format, logger := range loggers {
		for name, write := range secrets {
			t.Run(format+"/"+name, func(t *testing.T) {
				var buf bytes.Buffer
				write(logger(t, &buf))
				if got := buf.String(); strings.Contains(got, hidden) || !strings.Contains(got, redacted) {
					t.Errorf("got %q", got)
				}
			})
		}
	}
}

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.StringValue(hidden) }

func TestWhatIsNoSecret(t *testing.T) {
	var buf bytes.Buffer
	New(Options{Writer: &buf, Getenv: noEnv}).Info("fetched", "key", "objects/ab", "url", "https://host:8443/a@b", "path", "/a")
	if got := buf.String(); strings.Contains(got, redacted) {
		t.Errorf("got %q", got)
	}
}
