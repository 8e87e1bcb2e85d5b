package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
)

// specifiers replaces the %-sequences of systemd.unit(5) that make sense without systemd.
func specifiers(text, name string) (string, error) {
	if !strings.Contains(text, "%") {
		return text, nil
	}
	stem, _ := splitSuffix(name)
	prefix, instance, _ := strings.Cut(stem, "@")
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		i++
		switch text[i] {
		case '%':
			out.WriteByte('%')
		case 'n':
			out.WriteString(name)
		case 'N':
			out.WriteString(stem)
		case 'p':
			out.WriteString(prefix)
		case 'P':
			out.WriteString(unit.UnitNameUnescape(prefix))
		case 'i':
			out.WriteString(instance)
		case 'I':
			out.WriteString(unit.UnitNameUnescape(instance))
		case 'H':
			hostname, err := os.Hostname()
			if err != nil {
				return "", fmt.Errorf("%%H: %w", err)
			}
			out.WriteString(hostname)
		case 't':
			out.WriteString("/run")
		case 'S':
			out.WriteString("/var/lib")
		case 'C':
			out.WriteString("/var/cache")
		case 'L':
			out.WriteString("/var/log")
		case 'E':
			out.WriteString("/etc")
		case 'T':
			out.WriteString("/tmp")
		case 'h':
			out.WriteString("/root")
		case 'u':
			out.WriteString("root")
		case 'U':
			out.WriteString("0")
		default:
			return "", fmt.Errorf("%q: the process runner does not know %%%c", text, text[i])
		}
	}
	return out.String(), nil
}

// timespan reads systemd.time(7): "90", "1min 30s", "infinity" (zero here: no limit).
func timespan(text string) (time.Duration, error) {
	if text == "infinity" {
		return 0, nil
	}
	units := map[string]time.Duration{
		"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
		"us": time.Microsecond, "usec": time.Microsecond, "ms": time.Millisecond, "msec": time.Millisecond,
		"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
		"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
		"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour, "w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
	}
	total, rest := time.Duration(0), strings.TrimSpace(text)
	if rest == "" {
		return 0, fmt.Errorf("time span %q: empty", text)
	}
	for rest != "" {
		i := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if i < 0 {
			i = len(rest)
		}
		number, err := strconv.ParseFloat(rest[:i], 64)
		if err != nil {
			return 0, fmt.Errorf("time span %q: not a number with a unit", text)
		}
		rest = strings.TrimLeft(rest[i:], " ")
		j := strings.IndexFunc(rest, func(r rune) bool { return r < 'a' || r > 'z' })
		if j < 0 {
			j = len(rest)
		}
		unit, ok := units[rest[:j]]
		if !ok {
			return 0, fmt.Errorf("time span %q: unit %q", text, rest[:j])
		}
		total += time.Duration(number * float64(unit))
		rest = strings.TrimLeft(rest[j:], " ")
	}
	return total, nil
}

// signalOf reads "SIGTERM", "TERM" or "15".
func signalOf(text string) (syscall.Signal, error) {
	signals := map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "ABRT": syscall.SIGABRT, "KILL": syscall.SIGKILL,
		"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "PIPE": syscall.SIGPIPE, "ALRM": syscall.SIGALRM, "TERM": syscall.SIGTERM,
		"CONT": syscall.SIGCONT, "STOP": syscall.SIGSTOP, "WINCH": syscall.SIGWINCH,
	}
	if s, ok := signals[strings.TrimPrefix(text, "SIG")]; ok {
		return s, nil
	}
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n), nil
	}
	return 0, fmt.Errorf("signal %q: not known", text)
}
