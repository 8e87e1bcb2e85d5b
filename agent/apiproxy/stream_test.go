package apiproxy

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Bytes come through whole and in order, whatever is copied and whatever is spliced, while writers wait for readers too.
func TestBytesInOrder(t *testing.T) {
	const all = 24 << 20
	a := newMaster(t, "ma")
	r := start(t, Options{}, a)
	conn, _ := r.connect()
	seed := [32]byte{1}
	go func() {
		source, size := rand.NewChaCha8(seed), rand.New(rand.NewPCG(1, 2))
		block := make([]byte, 4*small)
		for left := all; left > 0; {
			some := block[:min(left, 1+size.IntN(len(block)))]
			_, _ = source.Read(some)
			if _, err := conn.Write(some); err != nil {
				return // the reader tells
			}
			left -= len(some)
		}
		_ = conn.CloseWrite()
	}()
	// Nothing is read until nothing moves: the buffers on the whole way are full.
	var before float64
	eventually(t, "the writer waits", func() bool {
		time.Sleep(50 * time.Millisecond)
		now := r.counter("bytes_total", "sent")
		still := now > small && now == before
		before = now
		return still
	})
	want := make([]byte, all)
	_, _ = rand.NewChaCha8(seed).Read(want)
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), all, err)
	}
	eventually(t, "bytes are counted", func() bool {
		return r.counter("bytes_total", "sent") == all+1 && r.counter("bytes_total", "received") == all+3
	})
}

// An idle connection holds two descriptors and no pipe, and one that carried much holds no more.
func TestIdleHoldsNoPipe(t *testing.T) {
	const n = 50
	a := newMaster(t, "ma")
	r := start(t, Options{Interval: time.Second, Ready: time.Second}, a)
	r.state(a, Up)
	before, _, _ := held(t, r)
	var conns []*net.TCPConn
	for range n {
		conn, _ := r.connect()
		conns = append(conns, conn)
	}
	// Four sockets: the client's, the proxy's two, the master's.
	if got := descriptors(t) - before; got > 4*n+10 {
		t.Errorf("%d descriptors for %d connections", got, n)
	}
	for _, conn := range conns {
		if !carries(conn, 16*small) {
			t.Fatal("broken")
		}
	}
	eventually(t, "pipes are closed", func() bool {
		runtime.GC()
		return descriptors(t)-before <= 4*n+10
	})
	if !says(conns[0], "hello") {
		t.Error("broken")
	}
}

// Bytes that are in a pipe when the connection breaks go with the pipe.
func TestBreaksWithAFullPipe(t *testing.T) {
	a := newMaster(t, "ma")
	var first sync.Once
	a.raw = func(conn *net.TCPConn) {
		first.Do(func() {
			_, _ = conn.Write([]byte("ma"))
			_, _ = io.Copy(struct{ io.Writer }{conn}, neverEnds{})
		})
		echo("ma")(conn)
	}
	r := start(t, Options{Interval: time.Second, Ready: time.Second}, a)
	eventually(t, "no pipe is left of other tests", func() bool { runtime.GC(); return pipesOpen(t) == 0 })
	client, _ := r.connect()
	eventually(t, "the pipe is full", func() bool { return pipesOpen(t) == 2 && r.counter("bytes_total", "received") > small })
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it closes pipes too
	reset(client)
	eventually(t, "all is closed", func() bool { return r.Status().Open == 0 && pipesOpen(t) == 0 })
	fresh, _ := r.connect()
	if !carries(fresh, 16*small) {
		t.Error("another connection got what was left in the pipe")
	}
}

// Without descriptors for a pipe, what is large is copied.
func TestNoPipe(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{Interval: time.Hour, Ready: time.Hour}, a)
	r.state(a, Up)
	conn, _ := r.connect()
	eventually(t, "no pipe is left", func() bool { runtime.GC(); return pipesOpen(t) == 0 })
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := was
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	carried := carries(conn, 64*small)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if !carried || pipesOpen(t) > 0 {
		t.Errorf("carried: %v, ends of pipes: %d", carried, pipesOpen(t))
	}
}

// carries tells whether so many bytes come back as they were sent.
func carries(conn net.Conn, n int) bool {
	sent := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(sent)
	go func() { _, _ = conn.Write(sent) }() // the reader tells
	got := make([]byte, n)
	_, err := io.ReadFull(conn, got)
	return err == nil && bytes.Equal(got, sent)
}

// pipesOpen counts the ends of the proxy's pipes, which are of a size of their own.
func pipesOpen(t *testing.T) (n int) {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		fd, err := strconv.Atoi(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if size, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0); err == nil && size == large {
			n++
		}
	}
	return n
}

// neverEnds is read from as long as anybody wants to.
type neverEnds struct{}

func (neverEnds) Read(to []byte) (int, error) { return len(to), nil }
