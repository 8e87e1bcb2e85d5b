package datadir

import (
	"testing"
	"time"

	"rekindle/agent/etcd/etcdtest"
)

// Inspect neither takes long on a running etcd nor disturbs it, nor one that starts.
func TestInspectDoesNotDisturbEtcd(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1, etcdtest.Options{Plaintext: true})
	m := c.Members[0]
	dir, client := home(t, m), c.Client(t)
	for range 20 {
		found, err := Inspect(t.Context(), dir, Options{})
		if err != nil || found.State != Busy {
			t.Fatalf("found %+v, %v", found, err)
		}
		if _, err := client.Put(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	looks := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-done:
				looks <- n
				return
			default:
			}
			if found, err := Inspect(t.Context(), dir, Options{}); err != nil || found.State != Busy && found.State != Sound {
				t.Errorf("while etcd stops and starts: %+v, %v", found, err)
			}
		}
	}()
	for range 2 {
		m.Stop()
		time.Sleep(200 * time.Millisecond) // so that a check is under way
		m.Restart(t)
	}
	close(done)
	if n := <-looks; n < 3 {
		t.Errorf("only %d looks", n)
	}
	if found, err := Inspect(t.Context(), dir, Options{}); err != nil || found.State != Busy {
		t.Errorf("at the end: %+v, %v", found, err)
	}
	if _, err := client.Put(t.Context(), "k", "v"); err != nil {
		t.Error(err)
	}
}
