package cloud

import (
	"net"
	"net/http"
	"time"
)

// gate acts out the effects that concern the connection and returns the kind of the one that needs an answer in the
// service's own shape, if any. When it does not return (reset, black hole) it calls gone first.
func gate(w http.ResponseWriter, r *http.Request, effects []Effect, gone func()) kind {
	failed := none
	for _, e := range effects {
		switch {
		case e.kind == latency:
			timer := time.NewTimer(e.delay)
			select {
			case <-timer.C:
			case <-r.Context().Done():
				timer.Stop()
				gone()
				panic(http.ErrAbortHandler)
			}
		case e.kind == connReset:
			gone()
			reset(w)
		case e.kind == blackHole:
			gone()
			hang(r)
		case e.ends():
			failed = e.kind
		}
	}
	return failed
}

// hang waits until the client goes, and does not return.
func hang(r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// reset closes the connection with a RST, and does not return.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2, or a recorder: the best that can be done
	}
	tcp := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		tcp = t.NetConn()
	}
	if t, ok := tcp.(*net.TCPConn); ok {
		// Linger 0 makes close send a RST instead of a FIN.
		if err := t.SetLinger(0); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	_ = tcp.Close() // nothing is left to say on it
	panic(http.ErrAbortHandler)
}

// delayOf is the longest delay that the effects of one kind ask for.
func delayOf(effects []Effect, k kind) time.Duration {
	var d time.Duration
	for _, e := range effects {
		if e.kind == k {
			d = max(d, e.delay)
		}
	}
	return d
}
