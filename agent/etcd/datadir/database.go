package datadir

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/raft/v3/raftpb"
)

// database is what etcd's own database says about itself.
type database struct {
	path     string
	index    uint64 // of the last entry that was applied to it; 0: none
	term     uint64 // of that entry; 0 when an etcd before 3.5 wrote it
	revision int64
	members  map[uint64]string // names by id; empty while the member has not told it
	removed  map[uint64]bool
}

// lockTimeout bounds the wait for a lock that is held when it is asked for; it must be above the 50 ms of bbolt's retry.
const lockTimeout = time.Second

// readDatabase checks a database whole: its pages, and everything that etcd reads when it starts.
func readDatabase(path string) (*database, error) {
	if err := checkPages(path); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true, Timeout: lockTimeout, MmapFlags: syscall.MAP_POPULATE})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, errBusy
	}
	if err != nil {
		return nil, err
	}
	defer db.Close()
	d := &database{path: path, members: map[uint64]string{}, removed: map[uint64]bool{}}
	err = db.View(func(tx *bolt.Tx) error {
		var first error
		for err := range tx.Check() {
			if first == nil {
				first = err
			}
		}
		if first != nil {
			return first
		}
		return d.read(tx)
	})
	return d, err
}

// read reads the buckets. etcd makes them all before it applies the first entry.
func (d *database) read(tx *bolt.Tx) error {
	if err := d.readMeta(tx.Bucket(schema.Meta.Name())); err != nil {
		return blame("bucket meta", err)
	}
	for _, b := range []struct {
		name []byte
		each func(k, v []byte) error
	}{
		{schema.Key.Name(), d.readKeys()},
		{schema.Lease.Name(), readLease},
		{schema.Alarm.Name(), readAlarm},
		{schema.Auth.Name(), readAuth},
		{schema.AuthUsers.Name(), readUser},
		{schema.AuthRoles.Name(), readRole},
		{schema.Members.Name(), d.readMember},
		{schema.MembersRemoved.Name(), d.readRemoved},
		{schema.Cluster.Name(), readCluster},
	} {
		bucket := tx.Bucket(b.name)
		if bucket == nil {
			if d.index > 0 && mustBe(b.name) {
				return tornf("bucket %s is missing", b.name)
			}
			continue
		}
		if err := bucket.ForEach(b.each); err != nil {
			return blame("bucket "+string(b.name), err)
		}
	}
	if d.index == 0 && d.revision > 0 {
		return tornf("it has keys, and no index of the entry that they came from")
	}
	return nil
}

// knows tells whether a member is, or was, one of the cluster's.
func (d *database) knows(id uint64) bool {
	_, ok := d.members[id]
	return ok || d.removed[id]
}

// mustBe tells which buckets there are in every database that has served. A restore leaves out others.
func mustBe(name []byte) bool {
	switch string(name) {
	case "key", "lease", "auth", "authUsers", "authRoles", "members":
		return true
	}
	return false
}

func (d *database) readMeta(meta *bolt.Bucket) (err error) {
	if meta == nil {
		return nil
	}
	if d.index, err = number(meta, schema.MetaConsistentIndexKeyName); err != nil {
		return err
	}
	if d.term, err = number(meta, schema.MetaTermKeyName); err != nil {
		return err
	}
	for _, name := range [][]byte{schema.ScheduledCompactKeyName, schema.FinishedCompactKeyName} {
		if v := meta.Get(name); v != nil {
			at, _, err := revision(v)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			d.revision = max(d.revision, at)
		}
	}
	if v := meta.Get(schema.MetaStorageVersionName); v != nil {
		if err := checkVersion("the version of its storage", string(v)); err != nil {
			return err
		}
	}
	if v := meta.Get(schema.MetaConfStateName); v != nil {
		return json.Unmarshal(v, new(raftpb.ConfState))
	}
	return nil
}

func number(meta *bolt.Bucket, name []byte) (uint64, error) {
	v := meta.Get(name)
	if v == nil {
		return 0, nil
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%s has %d bytes, not 8", name, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

// revision reads a key of bucket "key": eight bytes, '_', eight bytes, and a 't' if it is that of a deletion.
func revision(k []byte) (main, sub int64, err error) {
	if len(k) != 17 && len(k) != 18 || k[8] != '_' {
		return 0, 0, fmt.Errorf("%.40x is no revision", k)
	}
	main, sub = int64(binary.BigEndian.Uint64(k)), int64(binary.BigEndian.Uint64(k[9:]))
	if main < 0 || sub < 0 {
		err = fmt.Errorf("%x is a negative revision", k)
	}
	return main, sub, err
}

func (d *database) readKeys() func(k, v []byte) error {
	lastMain, lastSub := int64(-1), int64(-1)
	var kv mvccpb.KeyValue
	return func(k, v []byte) error {
		main, sub, err := revision(k)
		if err != nil {
			return err
		}
		if main < lastMain || main == lastMain && sub <= lastSub {
			return fmt.Errorf("revision %d.%d follows %d.%d", main, sub, lastMain, lastSub)
		}
		lastMain, lastSub = main, sub
		d.revision = max(d.revision, main)
		kv.Reset()
		if err := kv.Unmarshal(v); err != nil {
			return fmt.Errorf("revision %d.%d: %w", main, sub, err)
		}
		return nil
	}
}

func readLease(k, v []byte) error {
	if len(k) != 8 {
		return fmt.Errorf("%.40x is no lease", k)
	}
	return new(leasepb.Lease).Unmarshal(v)
}

func readAlarm(k, _ []byte) error { return new(etcdserverpb.AlarmMember).Unmarshal(k) }
func readUser(_, v []byte) error  { return new(authpb.User).Unmarshal(v) }
func readRole(_, v []byte) error  { return new(authpb.Role).Unmarshal(v) }

func readAuth(k, v []byte) error {
	if string(k) == string(schema.AuthRevisionKeyName) && len(v) != 8 {
		return fmt.Errorf("its revision has %d bytes, not 8", len(v))
	}
	return nil
}

func (d *database) readMember(k, v []byte) error {
	id, err := strconv.ParseUint(string(k), 16, 64)
	if err != nil {
		return err
	}
	var m struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(v, &m); err != nil {
		return fmt.Errorf("member %x: %w", id, err)
	}
	d.members[id] = m.Name
	return nil
}

func (d *database) readRemoved(k, _ []byte) error {
	id, err := strconv.ParseUint(string(k), 16, 64)
	d.removed[id] = true
	return err
}

func readCluster(k, v []byte) error {
	switch string(k) {
	case string(schema.ClusterClusterVersionKeyName):
		return checkVersion("the cluster's version", string(v))
	case string(schema.ClusterDowngradeKeyName):
		return json.Unmarshal(v, new(struct {
			Target  string `json:"target-version"`
			Enabled bool   `json:"enabled"`
		}))
	}
	return nil
}
