package join

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rekindle/agent/pki"
	"rekindle/agent/status"
)

// TestClientOverTCP is the same over real connections and a real net/http server, session tickets included.
func TestClientOverTCP(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newScene(t)
	s.client.Dial = nil
	key, err := pki.NewKey("ECDSA-P256")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.Issue(s.authority, pki.Spec{Names: []string{ServerName(clientCluster)}, Usages: []string{pki.Server}, Life: time.Hour},
		key.Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}, NextProtos: []string{"h2", "http/1.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var from []string
	m := &fakeMaster{authority: s.authority, refuse: func(r *http.Request, _ Body) *refused { from = append(from, r.RemoteAddr); return nil }}
	server := &http.Server{Handler: m}
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = server.Serve(l) }()
	defer func() { _ = server.Close(); <-stopped }()
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // leads nowhere
	s.masters = []string{"127.0.0.1:1", l.Addr().String()}
	s.mustJoin(t, 20*time.Second)
	if len(from) != 1 {
		t.Errorf("asked %d times", len(from))
	}
}

func TestClientPassesByWhatIsDown(t *testing.T) {
	for name, dead := range map[string]func(*testing.T) func(context.Context) (net.Conn, error){
		"a black hole": func(*testing.T) func(context.Context) (net.Conn, error) { return hole },
		"mute":         mute,
		"refusing":     func(*testing.T) func(context.Context) (net.Conn, error) { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				s.add(t, "10.0.0.9:3988", &fakeMaster{})
				first := s.seeker(t).rank("10.0.0.9:3988")
				for n := 0; len(s.masters) < 2; n++ { // one that is asked first
					address := fmt.Sprintf("10.1.0.%d:3988", n)
					if s.seeker(t).rank(address) < first {
						s.masters = append(s.masters, address)
						s.put(address, dead(t))
					}
				}
				most := time.Second
				if name == "mute" {
					most = 2 * time.Second
				}
				if took := s.mustJoin(t, time.Minute); took > most {
					t.Errorf("took %v; one that is down may cost %v", took, most)
				}
			})
		})
	}
}

// TestClientWaitsInLine: a master that serves thousands of others lets a connection wait. The node does not give its place
// up while it knows no other master.
func TestClientWaitsInLine(t *testing.T) {
	const line = 12 * time.Second
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{})
		serve := s.listen["10.0.0.4:3988"]
		s.put("10.0.0.4:3988", func(context.Context) (net.Conn, error) {
			here, there := net.Pipe()
			go func() { // the kernel's queue
				defer there.Close()
				time.Sleep(line)
				up, err := serve(t.Context()) // the dial is over by then
				if err != nil {
					return
				}
				defer up.Close()
				go func() { _, _ = io.Copy(up, there) }()
				_, _ = io.Copy(there, up)
			}()
			return newBuffered(here), nil
		})
		took := s.mustJoin(t, time.Minute)
		if took < line || took > line+time.Second || len(s.dialed) != 1 || m.joins.Load() != 1 {
			t.Errorf("took %v with %d connections", took, len(s.dialed))
		}
	})
}

func (s *scene) seeker(t *testing.T) *seeker {
	t.Helper()
	k, err := s.client.newSeeker(s.authority.Certificates, s.requests)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestClientManyDeadSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.add(t, "10.0.0.9:3988", &fakeMaster{})
		living := s.seeker(t).rank("10.0.0.9:3988")
		for n := 0; len(s.masters) < 32; n++ { // all of them are asked first
			if address := fmt.Sprintf("10.1.%d.%d:3988", n>>8, n&255); s.seeker(t).rank(address) < living {
				s.masters = append(s.masters, address)
				s.put(address, hole)
			}
		}
		if took := s.mustJoin(t, time.Minute); took > 9*time.Second {
			t.Errorf("took %v with 31 dead addresses", took)
		}
	})
}

func TestClientSpreads(t *testing.T) {
	s := newScene(t, "10.0.0.1:3988", "10.0.0.2:3988", "10.0.0.3:3988", "10.0.0.1:3988", "no port")
	first := map[string]int{}
	for n := range 3000 {
		k := s.seeker(t)
		k.Client = &Client{Instance: fmt.Sprintf("i-%d", n)}
		k.know(s.masters)
		if len(k.known) != 3 {
			t.Fatalf("known: %q", k.known)
		}
		first[k.order()[0]]++
		k.failed(t.Context(), k.known[0], errUnreached)
		if order := k.order(); order[2] != k.known[0] {
			t.Fatalf("%s failed and is asked before others: %q", k.known[0], order)
		}
	}
	for master, n := range first {
		if n < 900 || n > 1100 {
			t.Errorf("%s is the first choice of %d of 3000 nodes", master, n)
		}
	}
}

func TestClientWithoutMasters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.mustFail(t, time.Minute, status.ReasonJoinUnreached, "no master is known", "discovery/seeds.json")
		if seen := s.waits.seen; len(seen) != 2 || !strings.HasPrefix(seen[1], "join: a master's answer: no master is known (start a master") {
			t.Errorf("waits: %q", seen)
		}
		came := time.Now().Add(30 * time.Second)
		s.add(t, "10.0.0.4:3988", &fakeMaster{})
		s.client.Masters = func(context.Context) ([]string, error) {
			if time.Now().Before(came) {
				return nil, nil
			}
			return s.masters, nil
		}
		if took := s.mustJoin(t, 2*time.Minute); took < 30*time.Second || took > 50*time.Second {
			t.Errorf("took %v; the master came after 30 s", took)
		}
		s.client.Masters = func(context.Context) ([]string, error) {
			return nil, status.Fail(status.ReasonStoreDenied, "allow s3:GetObject", errors.New("seeds: 403"))
		}
		s.mustFail(t, time.Minute, status.ReasonStoreDenied, "masters: seeds: 403", "allow s3:GetObject")
	})
}

// TestClientRemembersMasters: what was known counts while discovery fails.
func TestClientRemembersMasters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{})
		looks := 0
		s.client.Masters = func(context.Context) ([]string, error) {
			if looks++; looks > 1 {
				return nil, errors.New("the store is away")
			}
			return s.masters, nil
		}
		m.refuse = func(*http.Request, Body) *refused {
			if m.joins.Load() == 1 {
				return no(UnknownInstance)
			}
			return nil
		}
		s.mustJoin(t, time.Minute)
	})
}
