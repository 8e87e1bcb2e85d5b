package apiproxy

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"rekindle/agent/discovery"
)

// bothUp is a proxy with n connections to the first of two masters.
func bothUp(t *testing.T, o Options, n int) (*running, *master, *master, []*net.TCPConn) {
	a, b := newMaster(t, "ma"), newMaster(t, "mb")
	r := start(t, o, a, b)
	r.state(a, Up)
	r.SetBackends([]Backend{a.backend()})
	var conns []*net.TCPConn
	for len(conns) < n {
		conn, name := r.connect()
		if name == "ma" {
			conns = append(conns, conn)
		}
	}
	r.SetBackends([]Backend{a.backend(), b.backend()})
	r.state(b, Up)
	return r, a, b, conns
}

func TestDeathResets(t *testing.T) {
	r, a, _, conns := bothUp(t, Options{}, 3)
	a.vanish()
	for _, conn := range conns {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	}
	eventually(t, "all are counted", func() bool { return r.counter("failures_total", failDown) == 3 })
	for range 5 {
		if _, name := r.connect(); name != "mb" {
			t.Error(name)
		}
	}
}

// Checks may fail where connections work, as on a network that loses packets: who still hears the master stays connected.
func TestWorkingConnectionStays(t *testing.T) {
	r, a, _, conns := bothUp(t, Options{Interval: 20 * time.Millisecond, Timeout: time.Second}, 1)
	a.vanish()
	began := time.Now()
	for down := 0; down < 30; time.Sleep(10 * time.Millisecond) {
		if !says(conns[0], "hello") {
			t.Fatal("a connection that works is reset")
		}
		if r.of(a).State == Down {
			down++
		}
		if time.Since(began) > limit {
			t.Fatal("the checks do not fail: the test shows nothing")
		}
	}
	if _, err := conns[0].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err) // once it is silent
	}
}

// Where there is nowhere to go, a connection is left as it is: the checks could be what is wrong.
func TestDeathOfTheOnlyOne(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{}, a)
	r.state(a, Up)
	conn, _ := r.connect()
	a.vanish()
	r.state(a, Down)
	if !says(conn, "hello") {
		t.Fatal("the connection is closed")
	}
	b := newMaster(t, "mb")
	r.SetBackends([]Backend{a.backend(), b.backend()})
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

// A master that hangs, but whose kernel takes connections, is not dead: it may be busy, and a storm of clients that
// reconnect would not help it.
func TestSlowIsNotDead(t *testing.T) {
	r, a, _, conns := bothUp(t, Options{Timeout: 100 * time.Millisecond, DrainTime: time.Hour}, 1)
	at := a.listener.Addr().String()
	a.vanish()
	silent, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r.state(a, Unready)
	if !says(conns[0], "hello") || !r.of(a).Draining {
		t.Error("the connection is not drained")
	}
}

// The connections of a master that leaves are closed at moments of their own, the busy ones last.
func TestDrain(t *testing.T) {
	for _, c := range []struct {
		name  string
		leave func(*running, *master, *master)
	}{
		{"leaving", func(r *running, a, b *master) {
			leaves := a.backend()
			leaves.Health = discovery.Leaving
			r.SetBackends([]Backend{leaves, b.backend()})
		}},
		{"no longer listed", func(r *running, a, b *master) { r.SetBackends([]Backend{b.backend()}) }},
		{"not ready", func(_ *running, a, _ *master) { a.ready.Store(false) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			const quiet = 30
			r, a, b, conns := bothUp(t, Options{DrainTime: time.Second}, quiet+1)
			busy := conns[quiet]
			talked := make(chan struct{})
			go func() {
				defer close(talked)
				for says(busy, "busy") {
				}
			}()
			c.leave(r, a, b)
			eventually(t, "new connections go elsewhere", func() bool {
				conn, name := r.connect()
				_ = conn.Close()
				return name == "mb"
			})
			closed := make(chan time.Time, quiet)
			for _, conn := range conns[:quiet] {
				go func() {
					if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
						t.Error(err)
					}
					closed <- time.Now()
				}()
			}
			first, last := <-closed, time.Time{}
			for range quiet - 1 {
				last = <-closed
			}
			if between := last.Sub(first); between < 200*time.Millisecond {
				t.Errorf("all were closed within %v", between)
			}
			<-talked
			eventually(t, "all are counted", func() bool { return r.counter("drained_total", "") == quiet+1 })
		})
	}
}

// A drain ends when its reason does, and what is left stays open.
func TestDrainIsCalledOff(t *testing.T) {
	r, a, b, conns := bothUp(t, Options{DrainTime: time.Hour}, 1)
	r.SetBackends([]Backend{b.backend()})
	if !r.of(a).Draining || !r.of(a).Gone {
		t.Fatal("not drained")
	}
	r.SetBackends([]Backend{a.backend(), b.backend()})
	if r.of(a).Draining || r.of(a).Gone || !says(conns[0], "hello") {
		t.Error("still drained")
	}
}

// A drain does not hold a connection of a master that dies meanwhile; with the last one the master is forgotten.
func TestDeathWhileDrained(t *testing.T) {
	r, a, b, conns := bothUp(t, Options{DrainTime: time.Hour}, 1)
	r.SetBackends([]Backend{b.backend()})
	a.vanish()
	if _, err := conns[0].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	eventually(t, "forgotten", func() bool { return len(r.Status().Backends) == 1 })
}

// A list without anybody is what discovery has before it knows somebody.
func TestEmptyListChangesNothing(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{}, a)
	conn, _ := r.connect()
	r.SetBackends(nil)
	if r.of(a).Gone || !says(conn, "hello") {
		t.Error("the master is gone")
	}
}

// A master that was rebuilt at the address of an old one is another master.
func TestRebuiltAtTheSameAddress(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{DrainTime: 100 * time.Millisecond}, a)
	r.state(a, Up)
	old, _ := r.connect()
	rebuilt := a.backend()
	rebuilt.Instance = "mb"
	r.SetBackends([]Backend{rebuilt})
	if _, err := old.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	eventually(t, "only one is left", func() bool {
		all := r.Status().Backends
		return len(all) == 1 && all[0].Instance == "mb" && all[0].State == Up
	})
}
