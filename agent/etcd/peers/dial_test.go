package peers_test

import (
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/peers"
)

func TestDialRefuses(t *testing.T) {
	good := peers.Endpoint{Name: "i-1", URL: "https://i-1.main.etcd.internal.demo:2379", Address: "127.0.0.1"}
	change := func(edit func(*peers.Endpoint)) []peers.Endpoint {
		e := good
		edit(&e)
		return []peers.Endpoint{e}
	}
	for name, c := range map[string]struct {
		endpoints []peers.Endpoint
		plaintext bool
		want      string
	}{
		"none":             {want: "no endpoint"},
		"a name":           {endpoints: change(func(e *peers.Endpoint) { e.Address = "localhost" }), want: "address of i-1.main"},
		"no address":       {endpoints: change(func(e *peers.Endpoint) { e.Address = "" }), want: "address of i-1.main"},
		"no port":          {endpoints: change(func(e *peers.Endpoint) { e.URL = "https://i-1.demo" }), want: "a host and a port"},
		"no scheme":        {endpoints: change(func(e *peers.Endpoint) { e.URL = "i-1.demo:2379" }), want: "begins with https"},
		"plaintext, certs": {endpoints: change(func(e *peers.Endpoint) { e.URL = "http://i-1.demo:2379" }), want: "write https"},
		"https, no certs":  {endpoints: []peers.Endpoint{good}, plaintext: true, want: "needs a client certificate"},
		"twice":            {endpoints: []peers.Endpoint{good, good}, want: "two have this name"},
		"one name, two addresses": {
			endpoints: append(change(func(e *peers.Endpoint) { e.Address = "127.0.0.2" }), good), want: "both 127.0.0.2:2379 and 127.0.0.1:2379",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := peers.Options{Endpoints: c.endpoints, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}
			if c.plaintext {
				o.TLS = nil
			}
			_, err := peers.Dial(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := peers.Dial(t.Context(), peers.Options{}); !errors.Is(err, peers.ErrNotDefined) {
		t.Fatalf("got %v, want ErrNotDefined", err)
	}
}

func TestConnectionsComeFromTheAddressGiven(t *testing.T) {
	address := etcdtest.Address(t)
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "2379"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	own := etcdtest.Address(t)
	client, err := peers.Dial(t.Context(), peers.Options{
		Endpoints: []peers.Endpoint{{Name: "i-1", URL: "http://i-1.main.etcd.internal.demo:2379", Address: address}},
		LocalAddr: net.ParseIP(own),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if from, _, _ := net.SplitHostPort(conn.RemoteAddr().String()); from != own {
		t.Errorf("from %s, want %s", from, own)
	}
}

// dialTo makes a client that is closed when the test ends.
func dialTo(t *testing.T, c *etcdtest.Cluster, change func(*peers.Options)) *peers.Client {
	t.Helper()
	o := peers.Options{Endpoints: c.Endpoints(), TLS: c.TLS, Timeout: 10 * time.Second}
	if change != nil {
		change(&o)
	}
	client, err := peers.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error("close:", err)
		}
	})
	return client
}

// silent is an endpoint whose connections are taken by the kernel and never answered.
func silent(t *testing.T, c *etcdtest.Cluster) peers.Endpoint {
	t.Helper()
	e := c.New(t).Endpoint()
	listener, err := net.Listen("tcp", net.JoinHostPort(e.Address, "2379"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return e
}

// ours counts goroutines that a Client has started, its own, etcd's client's and gRPC's. The servers in this process have
// no end of others.
func ours() int {
	buffer := make([]byte, 16<<20)
	buffer = buffer[:runtime.Stack(buffer, true)]
	count := 0
	for stack := range strings.SplitSeq(string(buffer), "\n\n") {
		_, created, _ := strings.Cut(stack, "created by ")
		for _, mark := range []string{"agent/etcd/peers.", "etcd/client/v3.", "grpc.(*addrConn)", "grpc/internal/transport.NewHTTP2Client", "grpc/internal/grpcsync.NewCallbackSerializer"} {
			if strings.HasPrefix(created, mark) || strings.Contains(strings.SplitN(created, "\n", 2)[0], mark) {
				count++
				break
			}
		}
	}
	return count
}

// It runs before the tests that run beside each other, so every such goroutine is its own.
func TestCloseLeavesNothing(t *testing.T) {
	c := etcdtest.Start(t, 1, etcdtest.Options{})
	before := ours()
	if before != 0 {
		t.Fatalf("%d goroutines before anything was dialled: somebody left them", before)
	}
	endpoints := append(c.Endpoints(), silent(t, c), c.New(t).Endpoint())
	seen := 0
	for range 5 {
		client, err := peers.Dial(t.Context(), peers.Options{Endpoints: endpoints, TLS: c.TLS})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.View(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen = max(seen, ours())
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if seen == 0 {
		t.Fatal("the count sees no goroutine of a client that is open")
	}
	deadline := time.Now().Add(20 * time.Second)
	for ours() != 0 {
		if time.Now().After(deadline) {
			buffer := make([]byte, 16<<20)
			t.Fatalf("%d goroutines are left:\n%s", ours(), buffer[:runtime.Stack(buffer, true)])
		}
		time.Sleep(50 * time.Millisecond)
	}
}
