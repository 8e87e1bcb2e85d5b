package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
)

// journal is etcd's write-ahead log, as its files show it.
//
// etcd's wal.Verify and wal.ValidSnapshotEntries take a file that ends too early for the end of the log wherever it
// stands, and etcd then fails at its start; and they do not say what the last entry is. So the records are read here, with
// etcd's decoder, by the rules of its start: the last file alone may end within a record, which is cut off then.
type journal struct {
	files    []logFile
	metadata []byte
	node     uint64 // the id of the member whose log it is
	state    raftpb.HardState
	snaps    []walpb.Snapshot // those that the log says were committed
}

type logFile struct {
	path            string
	sequence, first uint64
}

func readJournal(dir string) (*journal, error) {
	files, err := logFiles(dir)
	if err != nil {
		return nil, err
	}
	j := &journal{files: files}
	if err := scan(files, j.note); err != nil {
		return nil, err
	}
	if j.metadata == nil {
		return nil, tornf("%s: no record says whose log it is", filepath.Base(files[0].path))
	}
	var whose etcdserverpb.Metadata
	if err := whose.Unmarshal(j.metadata); err != nil {
		return nil, tornf("the record of whose log it is: %v", err)
	}
	j.node = whose.NodeID
	committed := j.snaps[:0]
	for _, s := range j.snaps {
		if s.Index <= j.state.Commit {
			committed = append(committed, s)
		}
	}
	j.snaps = committed
	return j, nil
}

// note takes in what is no entry.
func (j *journal) note(r *walpb.Record) error {
	switch r.Type {
	case wal.MetadataType:
		if j.metadata != nil && !bytes.Equal(j.metadata, r.Data) {
			return errors.New("it is of another member than the file before")
		}
		j.metadata = append([]byte{}, r.Data...)
	case wal.StateType:
		j.state = raftpb.HardState{}
		return j.state.Unmarshal(r.Data)
	case wal.SnapshotType:
		var s walpb.Snapshot
		if err := s.Unmarshal(r.Data); err != nil {
			return err
		}
		j.snaps = append(j.snaps, s)
	case wal.EntryType, wal.CrcType:
	default:
		return fmt.Errorf("a record of unknown type %d", r.Type)
	}
	return nil
}

// entries are those after a snapshot, without what later ones have overwritten. The data of normal ones up to applied is
// left out.
func (j *journal) entries(after walpb.Snapshot, applied uint64) ([]raftpb.Entry, error) {
	from := len(j.files) - 1
	for from >= 0 && j.files[from].first > after.Index {
		from--
	}
	if from < 0 {
		return nil, tornf("the log begins at %d, and the snapshot ends at %d", j.files[0].first, after.Index)
	}
	var entries []raftpb.Entry
	known := false
	err := scan(j.files[from:], func(r *walpb.Record) error {
		switch r.Type {
		case wal.SnapshotType:
			var s walpb.Snapshot
			if err := s.Unmarshal(r.Data); err != nil {
				return err
			}
			if s.Index == after.Index && s.Term != after.Term {
				return fmt.Errorf("the snapshot at %d is of term %d, not %d", s.Index, s.Term, after.Term)
			}
			known = known || s.Index == after.Index
		case wal.EntryType:
			var e raftpb.Entry
			if err := e.Unmarshal(r.Data); err != nil {
				return err
			}
			if e.Index <= after.Index {
				return nil
			}
			place := e.Index - after.Index - 1
			if place > uint64(len(entries)) {
				return fmt.Errorf("entry %d follows entry %d", e.Index, after.Index+uint64(len(entries)))
			}
			if err := tooNew(e); err != nil {
				return err
			}
			if e.Type == raftpb.EntryNormal && e.Index <= applied {
				e.Data = nil
			}
			entries = append(entries[:place], e)
		}
		return nil
	})
	if err == nil && !known {
		err = tornf("the log does not know the snapshot at %d", after.Index)
	}
	return entries, err
}

// logFiles are the files of a log, in order. Others, such as those that etcd prepares, are left alone, as etcd does.
func logFiles(dir string) ([]logFile, error) {
	listed, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []logFile
	for _, entry := range listed {
		f := logFile{path: filepath.Join(dir, entry.Name())}
		n, err := fmt.Sscanf(entry.Name(), "%016x-%016x.wal", &f.sequence, &f.first)
		if err != nil || n != 2 || filepath.Ext(entry.Name()) != ".wal" {
			continue
		}
		if last := len(files) - 1; last >= 0 && files[last].sequence+1 != f.sequence {
			return nil, tornf("a file is missing between %s and %s", filepath.Base(files[last].path), entry.Name())
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, tornf("it has no file")
	}
	return files, nil
}

// scan reads the records of log files.
func scan(files []logFile, each func(*walpb.Record) error) error {
	sum := uint32(0)
	for i, f := range files {
		err := scanFile(f.path, &sum, each)
		if i == len(files)-1 && errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // etcd cuts this off: it was never synced, so nobody was told of it
		}
		if err != nil {
			return blame(filepath.Base(f.path), err)
		}
	}
	return nil
}

// scanFile reads one file, and takes the checksum on from the one before.
func scanFile(path string, sum *uint32, each func(*walpb.Record) error) error {
	file, err := openRegular(path)
	if err != nil {
		return err
	}
	defer file.Close()
	decoder := wal.NewDecoder(reader{file})
	decoder.UpdateCRC(*sum)
	var r walpb.Record
	for begun := false; ; begun = true {
		err := decoder.Decode(&r)
		if !begun && (err != nil && isEnd(err) || err == nil && r.Type != wal.CrcType) {
			return tornf("it does not begin as a log does")
		}
		if errors.Is(err, io.EOF) {
			*sum = decoder.LastCRC()
			return nil
		}
		if err != nil {
			return err
		}
		if r.Type == wal.CrcType {
			if last := decoder.LastCRC(); last != 0 && r.Validate(last) != nil {
				return tornf("it does not follow the file before: records are missing in between")
			}
			decoder.UpdateCRC(r.Crc)
		}
		if err := each(&r); err != nil {
			return blame(fmt.Sprintf("the record before byte %d", decoder.LastOffset()), err)
		}
	}
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// reader is what etcd's decoder wants of a file.
type reader struct{ *os.File }

func (r reader) FileInfo() (fs.FileInfo, error) { return r.Stat() }
