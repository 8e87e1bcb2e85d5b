package datadir

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v2store"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// rescueJob makes, in Scratch, a member that is alone in its cluster and has the data's database and the end of its log;
// lets it apply that; and leaves its database.
//
// etcd's own --force-new-cluster is not used: it drops what the member did not know to be committed, so the last
// acknowledged writes with it, and it panics on the data of a learner.
func rescueJob(ctx context.Context, dir string) (report, error) {
	m, err := examine(Data(dir))
	if err != nil {
		return report{}, err
	}
	defer m.close()
	scratch := Scratch(dir)
	err = m.rebuild(ctx, scratch)
	if err == nil {
		err = serve(ctx, scratch, m.name())
	}
	if err == nil {
		err = m.arrived(scratch)
	}
	if err == nil {
		err = errors.Join(syncTree(scratch), syncDir(dir))
	}
	if err != nil {
		// Not wrapped: whatever goes wrong with the copy is no fault of the data, which was found sound.
		return report{}, errors.New(scratch + ": " + advise(err).Error())
	}
	return m.report(), nil
}

// name is the member's, as etcd is to be told. Any will do where the database does not know it yet.
func (m *member) name() string {
	if name := m.db.members[m.journal.node]; name != "" {
		return name
	}
	return "rescue"
}

// rebuild writes the data directory of the lonely member.
func (m *member) rebuild(ctx context.Context, scratch string) error {
	begin, err := m.begin()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(scratch); err != nil {
		return err
	}
	if err := os.MkdirAll(snapDir(scratch), 0o700); err != nil {
		return err
	}
	if err := copyFile(ctx, m.db.path, dbPath(scratch)); err != nil {
		return err
	}
	if err := m.alone(dbPath(scratch), begin); err != nil {
		return err
	}
	return m.writeLog(scratch, begin)
}

// begin is where the new log begins: after the last entry that is in the database. A snapshot cannot be of entry 0; the first entry
// of every log is about members, so a database without any entry has that one as well.
func (m *member) begin() (Position, error) {
	if m.db.index > 0 {
		return Position{Term: m.term(m.db.index), Index: m.db.index}, nil
	}
	if len(m.entries) == 0 {
		return Position{}, errors.New("nothing has ever been written to it")
	}
	if first := m.entries[0]; first.Type == raftpb.EntryNormal && len(first.Data) > 0 {
		return Position{}, errors.New("its log does not begin with a member")
	}
	return Position{Term: m.entries[0].Term, Index: 1}, nil
}

// alone makes the member the only one that the copy of its database knows.
func (m *member) alone(path string, begin Position) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(schema.Meta.Name())
		if err != nil {
			return err
		}
		if err := meta.Put(schema.MetaConsistentIndexKeyName, binary.BigEndian.AppendUint64(nil, begin.Index)); err != nil {
			return err
		}
		if err := meta.Put(schema.MetaTermKeyName, binary.BigEndian.AppendUint64(nil, begin.Term)); err != nil {
			return err
		}
		for _, name := range [][]byte{schema.Members.Name(), schema.MembersRemoved.Name()} {
			if err := tx.DeleteBucket(name); err != nil && tx.Bucket(name) != nil {
				return err
			}
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		id := m.journal.node
		record, err := json.Marshal(map[string]any{"id": id, "name": m.name(), "peerURLs": []string{"http://localhost:2380"}})
		if err != nil {
			return err
		}
		return tx.Bucket(schema.Members.Name()).Put([]byte(strconv.FormatUint(id, 16)), record)
	})
	return errors.Join(err, db.Close())
}

// writeLog writes a log that begins with a snapshot of one voter and has all entries after it, as committed.
func (m *member) writeLog(scratch string, begin Position) error {
	wal.SegmentSizeBytes = 8 << 20 // they are allocated in advance, two at a time, and this log is not written to for long
	w, err := wal.Create(quiet(), walDir(scratch), m.journal.metadata)
	if err != nil {
		return err
	}
	end := m.end()
	for _, e := range m.entries {
		if e.Index > begin.Index {
			if err := w.Save(raftpb.HardState{}, []raftpb.Entry{withoutMembers(e)}); err != nil {
				return errors.Join(err, w.Close())
			}
		}
	}
	err = w.Save(raftpb.HardState{Term: max(end.Term, m.journal.state.Term), Commit: end.Index}, nil)
	if err == nil {
		err = m.writeSnapshot(w, snapDir(scratch), begin)
	}
	return errors.Join(err, w.Close())
}

func (m *member) writeSnapshot(w *wal.WAL, dir string, begin Position) error {
	store, err := v2store.New(etcdserver.StoreClusterPrefix, etcdserver.StoreKeysPrefix).Save()
	if err != nil {
		return err
	}
	voter := raftpb.ConfState{Voters: []uint64{m.journal.node}}
	err = snap.New(quiet(), dir).SaveSnap(raftpb.Snapshot{
		Data:     store,
		Metadata: raftpb.SnapshotMetadata{ConfState: voter, Index: begin.Index, Term: begin.Term},
	})
	if err != nil {
		return err
	}
	return w.SaveSnapshot(walpb.Snapshot{Index: begin.Index, Term: begin.Term, ConfState: &voter})
}

// withoutMembers empties the entries that are about the other members. They change no key.
func withoutMembers(e raftpb.Entry) raftpb.Entry {
	if e.Type == raftpb.EntryNormal {
		var request etcdserverpb.InternalRaftRequest
		if len(e.Data) == 0 || request.Unmarshal(e.Data) != nil || request.ClusterMemberAttrSet == nil {
			return e
		}
	}
	return raftpb.Entry{Term: e.Term, Index: e.Index, Type: raftpb.EntryNormal}
}

// arrived checks that the new database has the whole log.
func (m *member) arrived(scratch string) error {
	db, err := readDatabase(dbPath(scratch))
	if err != nil {
		return err
	}
	if end := m.end(); db.index < end.Index || db.revision < end.Revision {
		return fmt.Errorf("it has entry %d and revision %d, and the log goes to %d and had %d", db.index, db.revision, end.Index, end.Revision)
	}
	return nil
}

// quiet is a logger for etcd that says only what etcd dies of.
func quiet() *zap.Logger {
	config := zap.NewProductionConfig()
	config.Level = zap.NewAtomicLevelAt(zap.PanicLevel)
	config.DisableStacktrace = true
	logger, err := config.Build() // to standard error
	if err != nil {
		return zap.NewNop()
	}
	return logger
}
