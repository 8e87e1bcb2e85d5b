package etcd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"rekindle/agent/plan"
)

// Notes are kept on the node's own disk, not on a member's volume: that this node said in the record that a member's data
// is lost, or how far its log goes. Until it takes that back in the record, the data starts on nobody's guess.
type Notes interface {
	Has(member plan.Etcd) (bool, error)
	Set(member plan.Etcd, text string) error
	Clear(member plan.Etcd) error
}

// FileNotes are files in a directory.
type FileNotes struct{ Dir string }

func (n FileNotes) path(member plan.Etcd) string {
	return filepath.Join(n.Dir, "etcd-"+member.Name+".reported")
}

// Has implements Notes.
func (n FileNotes) Has(member plan.Etcd) (bool, error) {
	_, err := os.Stat(n.path(member))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Set implements Notes.
func (n FileNotes) Set(member plan.Etcd, text string) error {
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(n.path(member), []byte(text+"\n"), 0o600)
}

// Clear implements Notes.
func (n FileNotes) Clear(member plan.Etcd) error {
	if err := os.Remove(n.path(member)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
