package datadir

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
)

const pageSize = 4096

// damage is something done to sound data, and what Inspect is to say. Without a state any verdict will do that etcd's
// start agrees with.
type damage struct {
	name string
	do   func(t *testing.T, data, other string)
	want State
	why  string // a part of it
	err  string // a part of it, instead of a verdict
}

func onDB(edit func(b []byte) []byte) func(*testing.T, string, string) {
	return func(t *testing.T, data, _ string) { change(t, dbPath(data), edit) }
}

// onPage edits the middle one of the pages of a kind.
func onPage(kind string, edit func(page []byte)) func(*testing.T, string, string) {
	return func(t *testing.T, data, _ string) {
		pages := pagesOf(t, data, kind)
		id := pages[len(pages)/2]
		change(t, dbPath(data), func(b []byte) []byte {
			edit(b[id*pageSize:][:pageSize])
			return b
		})
	}
}

// onLog edits the first, middle or last log file: 0, 1, 2.
func onLog(which int, edit func(b []byte) []byte) func(*testing.T, string, string) {
	return func(t *testing.T, data, _ string) {
		files := walFiles(t, data)
		change(t, files[which*(len(files)-1)/2], edit)
	}
}

// inBucket puts a value.
func inBucket(bucket, key, value string) func(*testing.T, string, string) {
	return func(t *testing.T, data, _ string) {
		inBolt(t, data, func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucket)).Put([]byte(key), []byte(value)) })
	}
}

var ofDatabase = []damage{
	{name: "nothing", do: func(*testing.T, string, string) {}, want: Sound},
	{name: "db empty", do: onDB(func(b []byte) []byte { return nil }), want: Torn, why: "has 0 bytes"},
	{name: "db of one page", do: onDB(func(b []byte) []byte { return b[:pageSize] }), want: Torn, why: "it ends after"},
	{name: "db without its end", do: onDB(func(b []byte) []byte { return b[:100*pageSize] }), want: Torn, why: "it ends after"},
	{name: "db of zeros", do: onDB(func(b []byte) []byte { return make([]byte, len(b)) }), want: Torn, why: "neither of its two meta pages"},
	{name: "both metas flipped", do: onDB(func(b []byte) []byte { b[40] ^= 1; b[pageSize+40] ^= 1; return b }), want: Torn, why: "neither"},
	{name: "first meta flipped", do: onDB(func(b []byte) []byte { b[40] ^= 1; return b })},
	{name: "second meta flipped", do: onDB(func(b []byte) []byte { b[pageSize+40] ^= 1; return b })},
	{name: "branch zeroed", do: onPage("branch", func(p []byte) { clear(p) }), want: Torn, why: "says that it is page 0"},
	{name: "leaf zeroed", do: onPage("leaf", func(p []byte) { clear(p) }), want: Torn, why: "says that it is page 0"},
	{name: "branch of another kind", do: onPage("branch", func(p []byte) { p[8] = 0x10 }), want: Torn, why: "is of kind"},
	{name: "branch in a circle", do: onPage("branch", func(p []byte) { copy(p[16+8:], p[:8]) }), want: Torn, why: "referred to twice"},
	{name: "branch to nowhere", do: onPage("branch", func(p []byte) { p[16+8+5] = 1 }), want: Torn, why: "out of bounds"},
	{name: "leaf with too many", do: onPage("leaf", func(p []byte) { p[11] = 0xff }), want: Torn, why: "more than fit"},
	{name: "leaf that overflows", do: onPage("leaf", func(p []byte) { copy(p[12:], "\xff\xff\xff\xff") }), want: Torn, why: "overflows"},
	{name: "leaf value outside", do: onPage("leaf", func(p []byte) { p[16+15] = 1 }), want: Torn, why: "leaves it"},
	{name: "leaf out of order", do: onPage("leaf", func(p []byte) {
		at := 16 + binary.LittleEndian.Uint32(p[16+4:])
		p[at] = 0xff
	}), want: Torn, why: "reading it crashes: panic: freepages"},
	{name: "no bucket of keys", do: func(t *testing.T, data, _ string) {
		inBolt(t, data, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("key")) })
	}, want: Torn, why: "bucket key is missing"},
	{name: "no applied index", do: func(t *testing.T, data, _ string) {
		inBolt(t, data, func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Delete([]byte("consistent_index")) })
	}, want: Torn, why: "no index"},
	{name: "short applied index", do: inBucket("meta", "consistent_index", "123"), want: Torn, why: "not 8"},
	{name: "applied what the log has not", do: inBucket("meta", "consistent_index", "\x00\x00\x00\x00\x00\x01\x00\x00"), want: Torn, why: "and the log ends at"},
	{name: "applied less than the snapshot", do: inBucket("meta", "consistent_index", "\x00\x00\x00\x00\x00\x00\x00\x05"), want: Torn, why: "the log begins after"},
	{name: "applied in another term", do: inBucket("meta", "term", "\x00\x00\x00\x00\x00\x00\x00\x63"), want: Torn, why: "term 99"},
	{name: "key that is no revision", do: inBucket("key", "\xff\xff", "x"), want: Torn, why: "is no revision"},
	{name: "value that is none", do: inBucket("key", "\x00\x00\x00\x00\x00\x01\x00\x00_\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\xff"), want: Torn, why: "bucket key"},
	{name: "lease that is none", do: inBucket("lease", "12345678", "\xff\xff"), want: Torn, why: "bucket lease"},
	{name: "member that is none", do: inBucket("members", "zz", "{}"), want: Torn, why: "bucket members"},
	{name: "member with nonsense", do: inBucket("members", "1f", "{"), want: Torn, why: "member 1f"},
	{name: "storage of a newer etcd", do: inBucket("meta", "storageVersion", "3.7.0"), err: "install a newer agent"},
	{name: "cluster of a newer etcd", do: inBucket("cluster", "clusterVersion", "3.7.0"), err: "install a newer agent"},
	{name: "version that is none", do: inBucket("cluster", "clusterVersion", "new"), want: Torn, why: "no version"},
	{name: "db of another cluster", do: func(t *testing.T, data, other string) {
		change(t, dbPath(data), func([]byte) []byte { return read(t, dbPath(other)) })
	}, want: Torn, why: "they are not of one cluster"},
	{name: "no db", do: func(t *testing.T, data, _ string) { remove(t, dbPath(data)) }, want: Torn, why: "is missing"},
	{name: "db is a pipe", do: func(t *testing.T, data, _ string) {
		remove(t, dbPath(data))
		if err := syscall.Mkfifo(dbPath(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}, want: Torn, why: "is no regular file"},
	{name: "db is a directory", do: func(t *testing.T, data, _ string) {
		remove(t, dbPath(data))
		if err := os.Mkdir(dbPath(data), 0o700); err != nil {
			t.Fatal(err)
		}
	}, want: Torn, why: "is no regular file"},
	{name: "db cannot be read", do: func(t *testing.T, data, _ string) {
		remove(t, dbPath(data))
		if err := os.Symlink("/proc/self/mem", dbPath(data)); err != nil { // its first page reads as EIO
			t.Fatal(err)
		}
	}, err: "the disk fails"},
}

var ofLog = []damage{
	{name: "log cut in the middle", do: onLog(1, func(b []byte) []byte { return b[:len(b)/2] }), want: Torn, why: ".wal"},
	{name: "log cut between files", do: func(t *testing.T, data, _ string) {
		files := walFiles(t, data)
		remove(t, files[len(files)/2])
	}, want: Torn, why: "a file is missing"},
	{name: "first log file gone", do: func(t *testing.T, data, _ string) { remove(t, walFiles(t, data)[0]) }, want: Sound},
	{name: "last log file gone", do: func(t *testing.T, data, _ string) {
		files := walFiles(t, data)
		remove(t, files[len(files)-1])
	}, want: Torn, why: "the log ends at"},
	{name: "no log file", do: func(t *testing.T, data, _ string) { remove(t, walFiles(t, data)...) }, want: Torn, why: "it has no file"},
	{name: "no log", do: func(t *testing.T, data, _ string) { remove(t, walDir(data)) }, want: Torn, why: "the log, wal is missing"},
	{name: "log bit flipped", do: onLog(1, func(b []byte) []byte { b[len(b)/2] ^= 4; return b }), want: Torn, why: ".wal"},
	{name: "log sector zeroed", do: onLog(1, func(b []byte) []byte { clear(b[len(b)/2:][:512]); return b }), want: Torn, why: ".wal"},
	{name: "first log file flipped", do: onLog(0, func(b []byte) []byte { b[len(b)/2] ^= 4; return b }), want: Torn, why: ".wal"},
	{name: "last log file empty", do: onLog(2, func(b []byte) []byte { return nil }), want: Torn, why: "does not begin as a log does"},
	{name: "last log file half", do: onLog(2, func(b []byte) []byte { return b[:tail(b)/2] }), want: Torn, why: "the log"},
	{name: "last log file without its zeros", do: onLog(2, func(b []byte) []byte { return b[:tail(b)] }), want: Sound},
	{name: "torn record at the end", do: onLog(2, func(b []byte) []byte {
		// A frame of 1200 bytes, of which only the first sector was written.
		b = append(b[:tail(b):tail(b)], "\xb0\x04\x00\x00\x00\x00\x00\x00torn"...)
		return append(b, make([]byte, 4096)...)
	}), want: Sound},
	{name: "record that leaves the file", do: onLog(2, func(b []byte) []byte {
		return append(b[:tail(b):tail(b)], "\xc8\x00\x01\x00\x00\x00\x00\x00torn"...)
	}), want: Sound},
	{name: "garbage at the end", do: onLog(2, func(b []byte) []byte {
		return append(append(b[:tail(b):tail(b)], "\x20\x00\x00\x00\x00\x00\x00\x00"...), "garbage that is longer than the 32 bytes"...)
	}), want: Torn, why: ".wal"},
	{name: "log file of another member", do: func(t *testing.T, data, other string) {
		mine, theirs := walFiles(t, data), walFiles(t, other)
		change(t, mine[1], func([]byte) []byte { return read(t, theirs[1]) })
	}, want: Torn, why: ".wal"},
	{name: "log of another cluster", do: func(t *testing.T, data, other string) {
		remove(t, walDir(data))
		copyTree(t, walDir(other), walDir(data))
	}, want: Torn, why: "they are not of one cluster"},
	{name: "log and snapshots of another cluster", do: func(t *testing.T, data, other string) {
		mine := read(t, dbPath(data))
		remove(t, memberDir(data))
		copyTree(t, memberDir(other), memberDir(data))
		change(t, dbPath(data), func([]byte) []byte { return mine })
	}, want: Torn, why: "neither that nor another"},
	{name: "entry of a newer etcd", do: addEntry("\x82\x7d\x00"), err: "of a newer kind"},
	{name: "entry that nobody can read", do: addEntry("\xff\xff\xff"), err: "cannot be read"},
	{name: "cut before the leader's database was in place", do: received(func(t *testing.T, data, sent string) {}), want: Sound},
	{name: "the leader's database is damaged", do: received(func(t *testing.T, data, sent string) {
		change(t, sent, func(b []byte) []byte { return b[:20*pageSize] })
	}), want: Torn, why: ".snap.db: it ends after"},
	{name: "the leader's database is another's", do: received(func(t *testing.T, data, sent string) {
		change(t, sent, func([]byte) []byte { return read(t, dbPath(data)) })
	}), want: Torn, why: "ends at 5"},
	{name: "no snapshot", do: func(t *testing.T, data, _ string) { remove(t, snapshots(t, data)...) }, want: Sound},
	{name: "no snapshot and no first log file", do: func(t *testing.T, data, _ string) {
		remove(t, snapshots(t, data)...)
		remove(t, walFiles(t, data)[0])
	}, want: Torn, why: "the log begins at"},
	{name: "newest snapshot flipped", do: func(t *testing.T, data, _ string) {
		all := snapshots(t, data)
		change(t, all[len(all)-1], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	}, want: Sound},
	{name: "no snap", do: func(t *testing.T, data, _ string) { remove(t, snapDir(data)) }, want: Torn, why: "is missing"},
	{name: "nothing left", do: func(t *testing.T, data, _ string) { remove(t, memberDir(data)) }, want: Empty},
	{name: "only directories left", do: func(t *testing.T, data, _ string) {
		remove(t, dbPath(data), walDir(data))
		remove(t, snapshots(t, data)...)
	}, want: Empty},
	{name: "member is a file", do: func(t *testing.T, data, _ string) {
		remove(t, memberDir(data))
		change(t, write(t, memberDir(data)), func([]byte) []byte { return nil })
	}, want: Torn, why: "member is no directory"},
	{name: "data is a file", do: func(t *testing.T, data, _ string) { remove(t, data); write(t, data) }, want: Torn, why: "not a directory"},
	{name: "a part beside it", do: func(t *testing.T, data, _ string) {
		copyTree(t, snapDir(data), filepath.Join(Part(filepath.Dir(data)), "member", "snap"))
	}, want: Sound},
}

func TestDamage(t *testing.T) {
	cases := append(append([]damage{}, ofDatabase...), ofLog...)
	random := rand.New(rand.NewPCG(1, 2))
	for range 6 {
		cases = append(cases, damage{name: "random", do: scatter(random.Uint64())})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, other := fixture(t)
			c.do(t, Data(dir), other)
			before := digest(t, dir)
			found, err := Inspect(t.Context(), dir, Options{})
			if after := digest(t, dir); before != after {
				t.Error("Inspect changed something")
			}
			if c.err != "" {
				if err == nil || !has(err.Error(), c.err) {
					t.Errorf("found %+v, error %v; want one with %q", found, err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.want != "" && found.State != c.want || !has(found.Why, c.why) {
				t.Errorf("found %s because %q, want %s because %q", found.State, found.Why, c.want, c.why)
			}
			if found.State == Sound {
				if ok, said := starts(t, Data(dir)); !ok {
					t.Errorf("etcd does not start from data that was called sound: %s", said)
				}
			}
			t.Log(found.State, found.Why)
		})
	}
}

// received is what a member has when it was cut between receiving a snapshot from the leader and putting it in place.
func received(do func(t *testing.T, data, sent string)) func(*testing.T, string, string) {
	return func(t *testing.T, data, _ string) {
		all := snapshots(t, data)
		_, index, _ := strings.Cut(filepath.Base(all[len(all)-1]), "-")
		sent := filepath.Join(snapDir(data), index+".db")
		if err := os.WriteFile(sent, read(t, dbPath(data)), 0o600); err != nil {
			t.Fatal(err)
		}
		inBucket("meta", "consistent_index", "\x00\x00\x00\x00\x00\x00\x00\x05")(t, data, "")
		do(t, data, sent)
	}
}

// addEntry appends an entry to the log, with the checksum that belongs there.
func addEntry(request string) func(*testing.T, string, string) {
	return func(t *testing.T, data, other string) {
		m, err := examine(data)
		must(t, nil, err)
		defer m.close()
		entry := raftpb.Entry{Term: m.end().Term, Index: m.end().Index + 1, Data: []byte(request)}
		body, err := entry.Marshal()
		must(t, nil, err)
		onLog(2, func(b []byte) []byte {
			end, table := tail(b), crc32.MakeTable(crc32.Castagnoli)
			record := walpb.Record{Type: 2, Crc: crc32.Update(lastSum(b), table, body), Data: body}
			frame, err := record.Marshal()
			must(t, nil, err)
			out := binary.LittleEndian.AppendUint64(b[:end:end], uint64(len(frame)))
			return append(append(out, frame...), make([]byte, 512)...)
		})(t, data, other)
	}
}

// lastSum is the checksum that the last record of a log file carries.
func lastSum(b []byte) (sum uint32) {
	for at := 0; at < tail(b); {
		length := binary.LittleEndian.Uint64(b[at:])
		var r walpb.Record
		if err := r.Unmarshal(b[at+8:][:length&(1<<56-1)]); err != nil {
			panic(err)
		}
		sum = r.Crc
		at += 8 + int(length&(1<<56-1))
		if int64(length) < 0 {
			at += int(length >> 56 & 7)
		}
	}
	return sum
}

// scatter flips a few bytes all over the database.
func scatter(seed uint64) func(*testing.T, string, string) {
	return onDB(func(b []byte) []byte {
		random := rand.New(rand.NewPCG(seed, 0))
		for range 1 + random.IntN(8) {
			b[random.IntN(len(b))] ^= byte(1 + random.IntN(255))
		}
		return b
	})
}

// tail is where the records of a log file end: at the eight zeros of a length.
func tail(b []byte) int {
	at := 0
	for at+8 <= len(b) {
		length := binary.LittleEndian.Uint64(b[at:])
		if length == 0 {
			break
		}
		at += 8 + int(length&(1<<56-1))
		if int64(length) < 0 {
			at += int(length >> 56 & 7)
		}
	}
	return at
}

func snapshots(t *testing.T, data string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(snapDir(data), "*.snap"))
	if err != nil || len(names) < 2 {
		t.Fatalf("snapshots: %v, %v", names, err)
	}
	return names
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}
