package apiproxy

import (
	"flag"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var leakConns = flag.Int("conns", 20000, "connections of TestNoLeak; 1000000 takes about five minutes")

// Whatever way connections end, nothing is left of them. All that is counted is of this process: clients, proxy, master.
func TestNoLeak(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{Interval: time.Second, Ready: time.Second}, a)
	r.state(a, Up)
	closed(t, r)
	files, goroutines, heap := held(t, r)
	before, began := resident(t), time.Now()
	carry(t, r, *leakConns)
	t.Logf("%d connections in %v", *leakConns, time.Since(began))
	eventually(t, "all descriptors and goroutines are given back", func() bool {
		d, g, _ := held(t, r)
		return d <= files+5 && g <= goroutines+5
	})
	d, g, now := held(t, r)
	t.Logf("before and after: %d, %d descriptors; %d, %d goroutines; heap %d, %d bytes; resident %d, %d bytes",
		files, d, goroutines, g, heap, now, before, resident(t))
	if now > heap+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", heap, now)
	}
}

// closed makes connections while no collection of garbage could close what the proxy forgot to.
func closed(t *testing.T, r *running) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	carry(t, r, 100)
	eventually(t, "no connection is open", func() bool { return r.Status().Open == 0 })
	before := sockets(t)
	carry(t, r, 900)
	eventually(t, "connections are closed", func() bool {
		return r.Status().Open == 0 && sockets(t) <= before+5
	})
}

// carry makes n connections: one in two is closed by the client, others by the master or reset by either.
func carry(t *testing.T, r *running, n int) {
	var clients sync.WaitGroup
	var next, failed atomic.Int64
	for range 16 {
		clients.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				conn, err := net.Dial("tcp", r.at)
				if err != nil || !says(conn, ".") {
					failed.Add(1)
					continue
				}
				switch i % 4 {
				case 0:
					reset(conn.(*net.TCPConn))
				case 1:
					_ = conn.(*net.TCPConn).CloseWrite()
					_, _ = conn.Read(make([]byte, 8))
					fallthrough
				default:
					_ = conn.Close()
				}
			}
		})
	}
	clients.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d connections failed", n)
	}
}

// held waits until the proxy has no connection and returns what this process holds.
func held(t *testing.T, r *running) (files, goroutines int, heap uint64) {
	t.Helper()
	eventually(t, "no connection is open", func() bool { return r.Status().Open == 0 })
	runtime.GC()
	runtime.GC() // of what the finalizers of the first freed
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return descriptors(t), runtime.NumGoroutine(), stats.HeapAlloc
}

// resident is how much memory this process has, in bytes.
func resident(t *testing.T) int {
	t.Helper()
	stat, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(stat))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func descriptors(t *testing.T) int { return len(links(t)) }

// sockets leaves out what the test binary itself opens.
func sockets(t *testing.T) int {
	return len(slices.DeleteFunc(links(t), func(link string) bool { return !strings.HasPrefix(link, "socket:") }))
}

// links are what the process's descriptors are open at.
func links(t *testing.T) (all []string) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if link, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil { // it may be closed by now
			all = append(all, link)
		}
	}
	return all
}

// At the limit, clients wait for a connection to end.
func TestLimit(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{MaxConns: 2}, a)
	first, _ := r.connect()
	r.connect()
	third := make(chan string)
	go func() { _, name := r.connect(); third <- name }()
	select {
	case <-third:
		t.Fatal("a third connection was carried")
	case <-time.After(100 * time.Millisecond):
	}
	_ = first.Close()
	if name := <-third; name != "ma" {
		t.Error(name)
	}
}

// Without descriptors the proxy waits for some, without spinning, and no master is blamed.
func TestNoDescriptors(t *testing.T) {
	a := newMaster(t, "ma")
	r := start(t, Options{Interval: time.Hour, Ready: time.Hour}, a)
	r.state(a, Up)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", r.at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.connect() // the accept of conn is over
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(socket)
	none := was
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was) }()
	to := r.Status().Listening[0]
	if err := syscall.Connect(socket, sockaddr(t, to)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "accept fails", func() bool { return r.counter("failures_total", failAccept) >= 5 })
	if n := r.counter("failures_total", failAccept); n > 50 {
		t.Errorf("%v attempts", n)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Write(socket, []byte(".")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1)
	if n, err := syscall.Read(socket, answer); n != 1 || err != nil {
		t.Error(n, err)
	}
	if s := r.of(a).State; s != Up {
		t.Error(s)
	}
}

func sockaddr(t *testing.T, to string) syscall.Sockaddr {
	at, err := net.ResolveTCPAddr("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.SockaddrInet4{Addr: [4]byte(at.IP.To4()), Port: at.Port}
}
