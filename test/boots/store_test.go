package boots

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const mib = 1 << 20

// chunk is the size of the pieces that the manifest has digests of.
const chunk = 8 * mib

// TestStoreCutOff boots from a store that is cut off in the middle of a 600 MiB object and stays away for a few
// seconds; later in the same object the agent is killed. What was verified is not transferred again.
func TestStoreCutOff(t *testing.T) {
	const size = 600 * mib
	const outage = 3 * time.Second
	p := newPlace(t)
	p.noise("bin/large", size, 1)
	p.file("roles/node/role.yaml", "description: a large file\nassets: [{object: bin/large, path: /opt/large}]\n")
	p.publish()
	want := digest(t, filepath.Join(p.assets, "bin/large"))
	if err := os.Remove(filepath.Join(p.assets, "bin/large")); err != nil { // a copy less on the disk
		t.Fatal(err)
	}
	// Each request loses at most the chunk that it is in the middle of, so of two cuts not more than 128 MiB.
	m := p.launch("node", tagged, map[string]any{"assets": map[string]any{"parallel": 8}})
	p.serve(m)

	cut := p.S3.CutAfter(size / 2)
	p.start(m)
	p.reached(cut)
	first := p.S3.Served()
	p.tell("all connections reset after %d MiB, store away for %s", first/mib, outage)
	wait := p.waits(m, "assets: bin/large")
	p.tell("status says %q: %s", wait.Name, wait.For)
	time.Sleep(outage)
	p.S3.Restore()

	cut = p.S3.CutAfter(size * 3 / 4)
	p.reached(cut)
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	p.tell("agent killed after %d MiB", p.S3.Served()/mib)
	p.S3.Restore()
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	p.ready(m)
	served := p.S3.Served()
	if got := digest(t, m.Path("/opt/large")); got != want {
		t.Errorf("installed %s, published %s", got, want)
	}
	if served > size*13/10 {
		t.Errorf("%d MiB served for %d MiB: what was verified was fetched again", served/mib, size/mib)
	}
	p.tell("ready; %d MiB served for an object of %d MiB (%.2f times)", served/mib, size/mib, float64(served)/size)
}

// reached waits for a cut of the link.
func (p *place) reached(cut <-chan struct{}) {
	p.t.Helper()
	select {
	case <-cut:
	case <-time.After(bootLimit):
		p.t.Fatalf("the object was not fetched that far within %s: %d MiB", bootLimit, p.S3.Served()/mib)
	}
}

// TestCorruptMirror has a mirror with one spoiled chunk in front of a store that is good.
func TestCorruptMirror(t *testing.T) {
	const size = 8*chunk + mib
	p := newPlace(t)
	p.noise("bin/large", size, 2)
	p.file("roles/node/role.yaml", "description: a file\nassets: [{object: bin/large, path: /opt/large}]\n")
	p.publish()
	copied := t.TempDir()
	if _, err := p.Publish(t.Context(), p.assets, "dir://"+copied); err != nil {
		t.Fatal(err)
	}
	want := digest(t, filepath.Join(p.assets, "bin/large"))
	spoil(t, find(t, copied, want), 3*chunk+12345)
	var mirrored atomic.Int64
	files := http.FileServer(http.Dir(copied))
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		files.ServeHTTP(&counted{w, &mirrored}, r)
	}))
	defer mirror.Close()

	m := p.launch("node", tagged, map[string]any{"mirrors": []string{mirror.URL}})
	p.serve(m)
	before := p.S3.Served()
	p.start(m)
	p.ready(m)
	if got := digest(t, m.Path("/opt/large")); got != want {
		t.Errorf("installed %s, published %s", got, want)
	}
	fromStore := p.S3.Served() - before
	if fromStore < chunk || fromStore > chunk+mib {
		t.Errorf("%d bytes came from the store; want one chunk of %d and little more", fromStore, chunk)
	}
	if mirrored.Load() > size+2*4*chunk {
		t.Errorf("the mirror sent %d bytes of %d", mirrored.Load(), size)
	}
	p.tell("ready; the mirror sent %.1f MiB of %.1f, the store %.1f MiB for the bad chunk", float64(mirrored.Load())/mib,
		float64(size)/mib, float64(fromStore)/mib)
}

// counted counts what is sent.
type counted struct {
	http.ResponseWriter
	bytes *atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// find is the file of an object in a store that is a directory.
func find(t *testing.T, dir, sha256 string) string {
	t.Helper()
	var found string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, sha256) {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("object %s is not in %s: %v", sha256, dir, err)
	}
	return found
}

// spoil changes one byte of a file.
func spoil(t *testing.T, path string, at int64) {
	t.Helper()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func digest(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
