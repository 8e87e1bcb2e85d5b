package datadir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"syscall"
)

// The jobs of Offline.
const (
	JobCheck  = "check"
	JobRescue = "rescue"
)

// readingLine is printed before the data is touched: what goes wrong earlier is not the data's fault.
const readingLine = "reading\n"

// report is what a job prints, as one line of JSON.
type report struct {
	State    State    `json:"state,omitempty"`
	Why      string   `json:"why,omitempty"`
	Position Position `json:"position,omitzero"`
	Member   string   `json:"member,omitempty"` // the name that the data knows its member by; it may not know one yet
	Error    string   `json:"error,omitempty"`  // why nothing was found out
}

// Offline does the part of Inspect and Extract that may hang or crash, and prints a report. It is meant to be all that
// its process does. Its error says only that the report could not be given.
func Offline(ctx context.Context, job, dir string, out io.Writer) error {
	debug.SetMaxStack(64 << 20) // a tree that contains itself ends here, not when the memory does
	work := map[string]func(context.Context, string) (report, error){JobCheck: checkJob, JobRescue: rescueJob}[job]
	if work == nil {
		return fmt.Errorf("unknown job %q", job)
	}
	if _, err := io.WriteString(out, readingLine); err != nil {
		return err
	}
	seen, err := work(ctx, dir)
	var found torn
	switch {
	case err == nil:
	case errors.As(err, &found):
		seen = report{State: Torn, Why: string(found)}
	case errors.Is(err, errBusy):
		seen = report{State: Busy}
	default:
		seen = report{Error: err.Error()}
	}
	return json.NewEncoder(out).Encode(seen)
}

func checkJob(_ context.Context, dir string) (report, error) {
	m, err := examine(Data(dir))
	if err != nil {
		return report{}, err
	}
	defer m.close()
	return m.report(), nil
}

// torn is what is wrong with the data itself. Every other error says nothing about it.
type torn string

func (t torn) Error() string { return string(t) }

func tornf(format string, args ...any) error { return torn(fmt.Sprintf(format, args...)) }

// blame finds out whose fault an error is that came up while a part of the data was read: the disk's, the system's, or
// the data's own.
func blame(part string, err error) error {
	var found torn
	var newer newer
	var number syscall.Errno
	switch {
	case errors.As(err, &found):
		return tornf("%s: %s", part, string(found))
	case errors.Is(err, errBusy):
		return err
	case errors.As(err, &newer):
		return fmt.Errorf("%s: %w", part, err)
	case errors.As(err, &number) && number != syscall.ENOENT && number != syscall.ENOTDIR && number != syscall.EISDIR:
		return fmt.Errorf("%s: %w%s", part, err, remedy(number))
	case errors.Is(err, os.ErrNotExist):
		return tornf("%s is missing", part)
	}
	return tornf("%s: %v", part, err)
}

func remedy(number syscall.Errno) string {
	switch number {
	case syscall.EIO:
		return ": the disk fails: see dmesg, and replace the volume"
	case syscall.EACCES, syscall.EPERM:
		return ": let the agent read it"
	case syscall.ENOSPC, syscall.EDQUOT:
		return ": make room on that disk, and try again"
	}
	return ": try again"
}
