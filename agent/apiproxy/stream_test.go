package apiproxy

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Bytes come through whole and in order, in small and in large buffers, while writers wait for readers too.
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

// An idle connection holds two descriptors and no buffer, and one that carried much holds no more.
func TestIdleHoldsNoBuffer(t *testing.T) {
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
	idle := heap()
	var all sync.WaitGroup
	for _, conn := range conns {
		all.Go(func() {
			if !carries(conn, 16*small) {
				t.Error("broken")
			}
		})
	}
	all.Wait()
	eventually(t, "buffers are given back", func() bool { return heap() < idle+n*small/4 })
	// Four sockets: the client's, the proxy's two, the master's.
	if got := descriptors(t) - before; got > 4*n+10 {
		t.Errorf("%d descriptors for %d connections", got, n)
	}
	if !says(conns[0], "hello") {
		t.Error("broken")
	}
}

// heap is what is in use, in bytes, without what pools could give back.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
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
