package datadir

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/renameio/v2"
	"sigs.k8s.io/json"
)

// maxMarker is far more than a marker has.
const maxMarker = 64 << 10

// ParseMarker reads a marker strictly: a field that is unknown, missing or there twice makes it none.
func ParseMarker(data []byte) (*Marker, error) {
	var m Marker
	doubts, err := json.UnmarshalStrict(data, &m)
	if err == nil && len(doubts) > 0 {
		err = doubts[0]
	}
	if err != nil {
		return nil, err
	}
	return &m, m.check()
}

func (m Marker) check() error {
	switch {
	case m.UID == "":
		return errors.New("uid is missing")
	case m.Generation < 1:
		return fmt.Errorf("generation is %d, and the first is 1", m.Generation)
	case m.Member == "":
		return errors.New("member is missing")
	case m.Token == "":
		return errors.New("token is missing")
	}
	return nil
}

// ReadMarker is the marker of a member's directory; nil when there is none. A damaged one is an error: whose data lies
// beside it is not known then, and only the operator can tell.
func ReadMarker(dir string) (*Marker, error) {
	raw, err := readSmall(MarkerPath(dir), maxMarker)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := ParseMarker(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: restore the file, or move it and the data beside it away", MarkerPath(dir), err)
	}
	return m, nil
}

// WriteMarker replaces the marker: after it returns, a power cut leaves the new one; before, the old or the new.
func WriteMarker(dir string, m Marker) error {
	if err := m.check(); err != nil {
		return fmt.Errorf("%s: %w", MarkerPath(dir), err)
	}
	data, err := stdjson.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return writeDurably(dir, MarkerPath(dir), append(data, '\n'))
}

// writeDurably replaces a file of a directory.
func writeDurably(dir, path string, data []byte) error {
	if err := renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(dir)); err != nil {
		return err
	}
	return syncDir(dir)
}

// current is the marker of what lies in Data. A marker equal to the one that went along with the newest data set aside
// is what SetAside had not removed yet when it was cut.
func current(dir string) (*Marker, error) {
	m, err := ReadMarker(dir)
	if m == nil || err != nil {
		return nil, err
	}
	stale, err := staleMarker(dir)
	if stale || err != nil {
		return nil, err
	}
	return m, nil
}

// staleMarker tells whether the marker in place is that of data which was set aside.
func staleMarker(dir string) (bool, error) {
	if there, err := exists(Data(dir)); there || err != nil {
		return false, err
	}
	last, err := newestAside(dir)
	if last == "" || err != nil {
		return false, err
	}
	here, err := readSmall(MarkerPath(dir), maxMarker)
	if err != nil {
		return false, ignoreAbsent(err)
	}
	there, err := readSmall(MarkerPath(last), maxMarker)
	if err != nil {
		return false, ignoreAbsent(err)
	}
	return bytes.Equal(here, there), nil
}
