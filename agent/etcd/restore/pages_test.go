package restore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func sha256Sum(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}

// small is a database with branches, overflow, inline buckets, free pages, and, if asked for, their list.
func small(t testing.TB, list bool) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: !list, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	write := func(change func(keys, other *bbolt.Bucket) error) {
		err := db.Update(func(tx *bbolt.Tx) error {
			keys, err := tx.CreateBucketIfNotExists([]byte("key"))
			if err != nil {
				return err
			}
			other, err := tx.CreateBucketIfNotExists([]byte("meta"))
			if err != nil {
				return err
			}
			return change(keys, other)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write(func(keys, other *bbolt.Bucket) error {
		for i := range 120 {
			if err := keys.Put(fmt.Appendf(nil, "%04d", i), make([]byte, i*5)); err != nil {
				return err
			}
		}
		return errors.Join(keys.Put([]byte("large"), make([]byte, 10_000)), other.Put([]byte("a"), []byte("b")))
	})
	write(func(keys, _ *bbolt.Bucket) error {
		return errors.Join(keys.Delete([]byte("large")), keys.Put([]byte("0000"), nil))
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Whatever the pages say, looking at them ends with an answer; and what is found good bbolt opens, checks and reads without a
// panic, which would end this test binary as it would end the agent.
func TestDamagedPages(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, list := range []bool{false, true} {
		data := small(t, list)
		if err := walk(data); err != nil {
			t.Fatal(err)
		}
		good, bad := 0, 0
		for range 500 {
			other := append([]byte(nil), data...)
			mutate(other, random)
			if walk(other) != nil {
				bad++
				continue
			}
			good++
			opened(t, other)
		}
		t.Logf("list of free pages %v: %d found good, %d bad", list, good, bad)
		if good < 10 || bad < 50 {
			t.Errorf("%d found good, %d bad: the damage is not the right kind", good, bad)
		}
	}
}

// mutate damages what bbolt goes by: the headers of pages, and their elements.
func mutate(data []byte, random *rand.Rand) {
	for range 1 + random.IntN(3) {
		page := 2 + random.IntN(len(data)/4096-2)
		at := page*4096 + random.IntN(96)
		switch random.IntN(4) {
		case 0:
			data[at] ^= 1 << random.IntN(8)
		case 1:
			data[at] = byte(random.IntN(256))
		case 2:
			binary.LittleEndian.PutUint32(data[at&^3:], random.Uint32())
		case 3:
			copy(data[page*4096:][:64], data[(2+random.IntN(len(data)/4096-2))*4096:])
		}
	}
}

func opened(t *testing.T, data []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, NoSync: true})
	if err != nil {
		return
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for range tx.Check() { // what it finds is no panic
		}
		return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error {
			if bucket == nil {
				return nil
			}
			return bucket.ForEach(func(k, v []byte) error {
				_ = append(append([]byte(nil), k...), v...)
				return nil
			})
		})
	})
	if err != nil {
		t.Log(err)
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(small(f, false))
	f.Add(small(f, true))
	f.Fuzz(func(_ *testing.T, data []byte) { _ = walk(data) })
}
