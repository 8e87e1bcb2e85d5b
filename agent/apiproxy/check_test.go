package apiproxy

import (
	"context"
	"crypto/x509"
	"testing"
	"time"
)

// Between two looks the connection is pinged: a master that goes is noticed at once, not at the next look.
func TestLostConnectionIsLookedInto(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{Interval: 50 * time.Millisecond, Ready: time.Hour}, a)
	r.state(a, Up)
	a.vanish()
	r.state(a, Down)
}

// A ping that is not answered does the same.
func TestUnansweredPing(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{Interval: 50 * time.Millisecond, Ready: time.Hour, Timeout: 200 * time.Millisecond}, a)
	r.state(a, Up)
	a.freeze()
	r.state(a, Unready)
}

func TestLooksOnlyNowAndThen(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{Interval: 10 * time.Millisecond, Ready: time.Hour}, a)
	r.state(a, Up)
	eventually(t, "pings", func() bool { return a.reads.Load() > 20 })
	if n := a.looks.Load(); n != 1 {
		t.Errorf("%d looks at /readyz", n)
	}
}

// One failure is not taken for the truth.
func TestOneFailure(t *testing.T) {
	a := newMaster(t, "ma")
	p := New(Options{Name: certified, Roots: a.roots, Interval: 50 * time.Millisecond, Ready: 50 * time.Millisecond})
	c := &check{address: a.listener.Addr().String(), o: &p.o}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	got := make(chan State)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(ctx, func(s State, _ error) { got <- s })
	}()
	if s := <-got; s != Up {
		t.Fatal(s)
	}
	a.once.Store(true)
	for a.once.Load() {
		if s := <-got; s != Up {
			t.Errorf("%s after one failure", s)
		}
	}
	a.ready.Store(false)
	for s := range got {
		if s == Unready {
			break
		}
	}
	a.ready.Store(true)
	for s := range got {
		if s == Up {
			break
		}
	}
	cancel()
	go func() {
		for range got {
		}
	}()
	<-done
	close(got)
}

// A certificate of another authority is no sign of life of this cluster's master.
func TestForeignAuthority(t *testing.T) {
	a := newMaster(t, "ma")
	p := New(Options{Name: certified, Roots: x509.NewCertPool})
	c := &check{address: a.listener.Addr().String(), o: &p.o}
	if _, err := c.look(t.Context()); err == nil || stateOf(err) != Unready {
		t.Error(err)
	}
	p.o.Roots, p.o.Name = a.roots, "another.example"
	if _, err := c.look(t.Context()); err == nil || stateOf(err) != Unready {
		t.Error(err)
	}
}

// Until the node has the cluster's authorities, a connection is enough.
func TestNoAuthorityYet(t *testing.T) {
	a := newMaster(t, "ma")
	p := New(Options{Name: certified, Roots: func() *x509.CertPool { return nil }})
	c := &check{address: a.listener.Addr().String(), o: &p.o}
	if _, err := c.look(t.Context()); err != nil {
		t.Error(err)
	}
	a.kill()
	if _, err := c.look(t.Context()); err == nil || stateOf(err) != Down {
		t.Error(err)
	}
}
