package apiproxy

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"
)

// Bytes come through whole and in order in whatever pieces and with whatever pauses, in bulk and not, both ways at once.
func TestBulkAndPauses(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{}, a)
	began := time.Now()
	for seed := uint64(0); seed < 8 || len(idlePipes) == 0 && time.Since(began) < limit; seed++ {
		conn, _ := r.connect()
		_ = conn.SetDeadline(time.Now().Add(limit))
		all := make([]byte, 24<<20)
		_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(all)
		go func() {
			some := rand.New(rand.NewPCG(seed, 0))
			for left := all; len(left) > 0; {
				n := min(1<<some.IntN(23), len(left))
				if _, err := conn.Write(left[:n]); err != nil {
					return // the reader tells
				}
				left = left[n:]
				if some.IntN(3) == 0 {
					time.Sleep(time.Duration(some.IntN(int(3 * gatherTime))))
				}
			}
			_ = conn.CloseWrite()
		}()
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, all) {
			t.Fatalf("seed %d: %d bytes of %d, %v", seed, len(got), len(all), err)
		}
	}
	if len(idlePipes) == 0 {
		t.Error("nothing was spliced: the test shows nothing")
	}
}

// What follows bulk data is not held back: neither its end, nor a question after it, nor the next one after a pause.
func TestSmallAfterBulk(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{}, a)
	conn, _ := r.connect()
	for round := range 10 {
		if !carries(conn, 4*burst+round) {
			t.Fatalf("round %d: broken", round)
		}
		for range 3 {
			if !says(conn, "hello") {
				t.Fatalf("round %d: a question is held back", round)
			}
			time.Sleep(2 * gatherTime)
		}
	}
}

// A sender that waits after every piece for an answer is found out, and what is asked of it for bulk doubles each time.
// After bulk that was worth it, little is asked.
func TestGatherGivesUp(t *testing.T) {
	sender, source := connected(t)
	target, receiver := connected(t)
	go func() { _, _ = io.Copy(io.Discard, receiver) }()
	s, err := newStream(target, source)
	if err != nil {
		t.Fatal(err)
	}
	move := func(n int) {
		t.Helper()
		for n > 0 {
			moved, err := s.move()
			if err != nil {
				t.Fatal(err)
			}
			n -= moved
		}
	}
	const piece = 256 << 10
	send := func(n int) {
		t.Helper()
		if _, err := sender.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{2, 4, 8, 16, 32, 64, 64, 64} {
		if s.need != want<<20 {
			t.Fatalf("%d bytes are asked for, want %d MiB", s.need, want)
		}
		takeForBulk(s)
		send(piece)
		if move(piece); s.bulk { // all of it came within the time for more
			t.Fatal("still taken for bulk")
		}
	}
	takeForBulk(s)
	sent := make(chan error, 1)
	go func() { _, err := sender.Write(make([]byte, 2*worth)); sent <- err }()
	left := 2 * worth
	for ; left > worth; left -= s.n {
		eventually(t, "much gathers", func() bool { return waiting(s) >= gathered })
		if move(1); !s.bulk {
			t.Fatal("no longer taken for bulk")
		}
	}
	for ; left > 0 && s.need == burstMax; left -= s.n {
		move(1)
	}
	if s.need == burstMax {
		send(piece)
		left += piece
		move(1)
		left -= s.n
	}
	if s.need != burstAgain {
		t.Errorf("%d bytes are asked for", s.need)
	}
	move(left)
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// connected are the two ends of a connection.
func connected(t *testing.T) (dialed, accepted *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close(), other.Close() })
	return conn.(*net.TCPConn), other.(*net.TCPConn)
}

// Bytes that are in a pipe when the connection breaks go with the pipe.
func TestBreaksWithAFullPipe(t *testing.T) {
	sender, source := connected(t)
	target, receiver := connected(t)
	s, err := newStream(target, source)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "no pipe is in use", func() bool { return pipesInUse.Load() == 0 })
	idle := len(idlePipes)
	go func() { _, _ = io.Copy(struct{ io.Writer }{sender}, neverEnds{}) }()
	broken := make(chan error)
	go func() { // nobody reads from the receiver
		for {
			takeForBulk(s)
			if _, err := s.move(); err != nil {
				broken <- err
				return
			}
		}
	}()
	var held int
	eventually(t, "a pipe is full", func() bool {
		if pipesInUse.Load() == 1 {
			held++
		} else {
			held = 0
		}
		time.Sleep(10 * time.Millisecond)
		return held == 20
	})
	reset(receiver)
	if err := <-broken; s.lost {
		t.Errorf("the sender is blamed: %v", err)
	}
	if pipesInUse.Load() != 0 || len(idlePipes) > idle {
		t.Errorf("%d pipes in use, %d idle, %d before", pipesInUse.Load(), len(idlePipes), idle)
	}
}

// takeForBulk has a stream take what comes next for bulk data, as if enough had come.
func takeForBulk(s *stream) {
	_ = s.from.Control(func(fd uintptr) { // fails when the connection is closed, which the next move tells
		if !s.bulk {
			s.n, s.run, s.since = 1, s.need-1, time.Now()
			s.count(fd)
		}
	})
}

// waiting is how many bytes a stream could read.
func waiting(s *stream) (n int) {
	_ = s.from.Control(func(fd uintptr) { n, _ = waitingNow(int(fd)) })
	return n
}

// Without descriptors for a pipe, bulk data is copied.
func TestNoPipe(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{Interval: time.Hour, Ready: time.Hour}, a)
	r.state(a, Up)
	conn, _ := r.connect()
	eventually(t, "no pipe is in use", func() bool { return pipesInUse.Load() == 0 })
	for len(idlePipes) > 0 {
		p := <-idlePipes
		p.held = 1 // so that it is closed
		pipesInUse.Add(1)
		p.put()
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := was
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	carried := carries(conn, 4*burst)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if !carried || len(idlePipes) > 0 || pipesInUse.Load() != 0 {
		t.Errorf("carried: %v, pipes: %d and %d in use", carried, len(idlePipes), pipesInUse.Load())
	}
}

// Streams that cannot write hold their pipes: of many most copy.
func TestPipesAreFew(t *testing.T) {
	eventually(t, "no pipe is in use", func() bool { return pipesInUse.Load() == 0 })
	before := descriptors(t) - 2*len(idlePipes)
	var held []*pipe
	for range 10 * pipeLimit {
		if p := newPipe(); p != nil {
			held = append(held, p)
		}
	}
	if len(held) != pipeLimit {
		t.Errorf("%d pipes", len(held))
	}
	for _, p := range held {
		p.put()
	}
	if now := descriptors(t) - 2*len(idlePipes); now != before || pipesInUse.Load() != 0 {
		t.Errorf("%d descriptors, %d before; %d in use", now, before, pipesInUse.Load())
	}
}

// neverEnds is read from as long as anybody wants to.
type neverEnds struct{}

func (neverEnds) Read(to []byte) (int, error) { return len(to), nil }
