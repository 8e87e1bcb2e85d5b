package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// member is what a sound data directory holds.
type member struct {
	guard   *os.File // keeps etcd from starting on it
	journal *journal
	db      *database
	base    raftpb.SnapshotMetadata // what the entries follow
	entries []raftpb.Entry
}

func (m *member) close() { m.guard.Close() }

// examine reads a data directory as etcd's start would, and changes no byte of it.
func examine(data string) (*member, error) {
	info, err := os.Stat(memberDir(data))
	if err == nil && !info.IsDir() {
		return nil, tornf("member is no directory")
	}
	if err != nil {
		return nil, blame("member", err)
	}
	guard, err := share(dbPath(data))
	if err != nil {
		return nil, blame("the database, snap/db", err)
	}
	m := &member{guard: guard}
	if err := m.read(data); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *member) read(data string) (err error) {
	if m.journal, err = readJournal(walDir(data)); err != nil {
		return blame("the log, wal", err)
	}
	if m.base, err = newestSnapshot(snapDir(data), m.journal.snaps); err != nil {
		return blame("the snapshots, snap", err)
	}
	if m.db, err = readDatabase(dbPath(data)); err != nil {
		return blame("the database, snap/db", err)
	}
	if m.db.index < m.base.Index {
		if err := m.adopt(data); err != nil {
			return err
		}
	}
	after := walpb.Snapshot{Index: m.base.Index, Term: m.base.Term}
	if m.entries, err = m.journal.entries(after, m.db.index); err != nil {
		return blame("the log, wal", err)
	}
	return m.agree()
}

// adopt takes the database that the leader had sent, as etcd's start does when it was cut before it put that in place.
func (m *member) adopt(data string) error {
	name := fmt.Sprintf("%016x.snap.db", m.base.Index)
	sent, err := readDatabase(filepath.Join(snapDir(data), name))
	if errors.Is(err, fs.ErrNotExist) {
		return tornf("the database holds what was applied up to %d, and the log begins after %d", m.db.index, m.base.Index)
	}
	if err != nil {
		return blame("the database that the leader sent, snap/"+name, err)
	}
	if sent.index < m.base.Index {
		return tornf("the database that the leader sent, snap/%s, ends at %d", name, sent.index)
	}
	m.db = sent
	return nil
}

// newestSnapshot is the one that etcd starts from: the newest that can be read and that the log knows. Zero: none, so
// the log must be whole.
func newestSnapshot(dir string, known []walpb.Snapshot) (raftpb.SnapshotMetadata, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.snap"))
	if err != nil {
		return raftpb.SnapshotMetadata{}, err
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		file, err := openRegular(name)
		if err == nil {
			_, err = readThrough(file)
			file.Close()
		}
		if errors.Is(err, errIrregular) {
			continue
		}
		if err != nil {
			return raftpb.SnapshotMetadata{}, err
		}
		s, err := snap.Read(zap.NewNop(), name)
		if err != nil {
			continue // etcd, too, takes an older one
		}
		for _, k := range known {
			if k.Index == s.Metadata.Index && k.Term == s.Metadata.Term {
				return s.Metadata, sameMembers(filepath.Base(name), k.ConfState, s.Metadata.ConfState)
			}
		}
	}
	return raftpb.SnapshotMetadata{}, nil
}

// sameMembers compares the members that the log names with a snapshot to those that the snapshot names. An etcd before
// 3.5 did not write them into the log.
func sameMembers(name string, log *raftpb.ConfState, file raftpb.ConfState) error {
	if log == nil {
		return nil
	}
	a, b := slices.Sorted(slices.Values(log.Voters)), slices.Sorted(slices.Values(file.Voters))
	if !slices.Equal(a, b) {
		return tornf("%s has voters %x, and the log has %x in its place: they are not of one cluster", name, b, a)
	}
	return nil
}

// agree checks that log and database are of one member, and that nothing is missing between them.
//
// etcd's verify.Verify wants the applied index to be at most the committed one. That would call sound data torn: a commit
// that comes without new entries is not synced (https://github.com/etcd-io/raft/pull/300), and a killed etcd leaves a
// database that is ahead of it. What has been applied must be in the log, though.
func (m *member) agree() error {
	end, commit := m.end(), m.journal.state.Commit
	if commit > end.Index {
		return tornf("the log says that %d is committed, and ends at %d", commit, end.Index)
	}
	if m.db.index > end.Index {
		return tornf("the database holds what was applied up to %d, and the log ends at %d", m.db.index, end.Index)
	}
	if term := m.term(m.db.index); term != 0 && m.db.term != 0 && term != m.db.term {
		return tornf("entry %d is of term %d in the database and of %d in the log: they are not of one member",
			m.db.index, m.db.term, term)
	}
	if ids := m.configured(); len(ids) > 0 && !slices.ContainsFunc(ids, m.db.knows) {
		return tornf("the log has member %x, and the database neither that nor another of the log's: they are not of one cluster", ids[0])
	}
	return nil
}

// configured are the ids of the members that the log mentions, up to the entry that was applied to the database last.
// One may be unknown to the database: etcd refuses some changes only when it applies them.
func (m *member) configured() []uint64 {
	conf := m.base.ConfState
	ids := slices.Concat(conf.Voters, conf.Learners)
	for _, e := range m.entries {
		var change raftpb.ConfChange
		if e.Index <= m.db.index && e.Type == raftpb.EntryConfChange && change.Unmarshal(e.Data) == nil {
			ids = append(ids, change.NodeID)
		}
	}
	return ids
}

// term is that of an entry in the log, 0 if it has no such entry.
func (m *member) term(index uint64) uint64 {
	switch {
	case index == m.base.Index:
		return m.base.Term
	case index < m.base.Index || index > m.base.Index+uint64(len(m.entries)):
		return 0
	}
	return m.entries[index-m.base.Index-1].Term
}

// end is how far the log goes.
func (m *member) end() Position {
	index := m.base.Index + uint64(len(m.entries))
	return Position{Term: m.term(index), Index: index, Revision: m.db.revision}
}

func (m *member) report() report {
	return report{State: Sound, Position: m.end(), Member: m.db.members[m.journal.node]}
}
