package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// blockTries is how often a block is written again when somebody else wrote the file at the same moment.
const blockTries = 10

// Block keeps content between the lines "# BEGIN rekindle <marker>" and "# END rekindle <marker>" of a file, and
// leaves its other lines alone. Empty content removes the block. The file is written in place: containers have
// /etc/hosts bind-mounted, and would go on to see the old file after a rename. Others may write it at any time, so the
// file is read again afterwards.
func (h *Host) Block(ctx context.Context, p, marker string, content []byte) (changed bool, err error) {
	if marker == "" || strings.ContainsAny(marker, "\r\n") {
		return false, fmt.Errorf("%s: marker %q: not one line", p, marker)
	}
	real, err := h.Path(p)
	if err != nil {
		return false, err
	}
	if err := h.MkdirAll(parent(p)); err != nil {
		return false, err
	}
	for range blockTries {
		wrote, err := writeBlock(real, marker, content)
		if err != nil {
			return changed, explain(p, err)
		}
		if !wrote {
			return changed, nil
		}
		changed = true
		select {
		case <-ctx.Done():
			return changed, fmt.Errorf("%s: %w", p, context.Cause(ctx))
		case <-time.After(rand.N(2 * time.Millisecond)): // a writer that had read before we wrote has written by then
		}
	}
	return changed, fmt.Errorf("%s: something else overwrites it all the time (find it with: fuser -v %[1]s)", p)
}

// HasBlock tells whether Block would change nothing.
func (h *Host) HasBlock(p, marker string, content []byte) (bool, error) {
	text, err := h.Read(p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return bytes.Equal(text, withBlock(text, marker, content)), nil
}

// writeBlock writes the file unless it is right, and says whether it had to.
func writeBlock(real, marker string, content []byte) (wrote bool, err error) {
	f, err := os.OpenFile(real, os.O_RDWR|os.O_CREATE, 0o644)
	if errors.Is(err, syscall.EROFS) { // an unchanged file on a read-only disk is fine
		if old, readErr := os.ReadFile(real); readErr == nil && bytes.Equal(old, withBlock(old, marker, content)) {
			return false, nil
		}
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return false, &fs.PathError{Op: "flock", Path: real, Err: err}
	}
	old, err := os.ReadFile(real)
	if err != nil {
		return false, err
	}
	now := withBlock(old, marker, content)
	if bytes.Equal(old, now) {
		return false, nil
	}
	if _, err := f.WriteAt(now, 0); err != nil { // one write: a reader sees the old lines or the new
		return false, err
	}
	if len(now) < len(old) {
		if err := f.Truncate(int64(len(now))); err != nil {
			return false, err
		}
	}
	return true, f.Sync()
}

// withBlock is the file's text with the block in it: where it was, or else at the end.
func withBlock(text []byte, marker string, content []byte) []byte {
	begin, end := "# BEGIN rekindle "+marker, "# END rekindle "+marker
	var before, after []string
	found, inside := false, false
	lines := strings.SplitAfter(string(text), "\n")
	for _, line := range lines {
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == begin:
			found, inside = true, true
		case trimmed == end:
			inside = false
		case inside && trimmed == "": // the end is missing: what was ours cannot reach over an empty line
			inside = false
			after = append(after, line)
		case inside:
		case found:
			after = append(after, line)
		default:
			before = append(before, line)
		}
	}
	var out strings.Builder
	out.WriteString(strings.Join(before, ""))
	if len(content) > 0 {
		if out.Len() > 0 && !strings.HasSuffix(out.String(), "\n") {
			out.WriteByte('\n')
		}
		out.WriteString(begin + "\n")
		for line := range strings.Lines(string(content)) {
			if strings.TrimSpace(line) != "" { // see above
				out.WriteString(strings.TrimRight(line, "\r\n") + "\n")
			}
		}
		out.WriteString(end + "\n")
	}
	out.WriteString(strings.Join(after, ""))
	return []byte(out.String())
}

func parent(p string) string { return path.Dir(path.Clean(p)) }
