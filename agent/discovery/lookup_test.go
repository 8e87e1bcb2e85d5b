package discovery

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// nameServer is a real one on loopback.
type nameServer struct {
	records []string // as a zone file has them
	rcode   int      // instead of an answer
	silent  bool
	narrow  bool // what it answers does not fit UDP

	mu    sync.Mutex
	asked []string // network, type and name of each question
}

func (s *nameServer) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	network := w.LocalAddr().Network()
	q := question.Question[0]
	s.mu.Lock()
	s.asked = append(s.asked, fmt.Sprint(network, " ", dns.TypeToString[q.Qtype], " ", q.Name))
	s.mu.Unlock()
	if s.silent {
		return
	}
	answer := new(dns.Msg).SetRcode(question, s.rcode)
	for _, text := range s.records {
		record, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		if kind := record.Header().Rrtype; kind == q.Qtype || kind == dns.TypeCNAME {
			answer.Answer = append(answer.Answer, record)
		}
	}
	if s.narrow && network == "udp" {
		answer.Truncated, answer.Answer = true, nil
	}
	_ = w.WriteMsg(answer) // the client may be gone
}

func (s *nameServer) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// serveNames starts the servers at 127.0.0.2 and up, all at one port, and returns a resolver that asks them in this order.
func serveNames(t *testing.T, servers ...*nameServer) Resolver {
	t.Helper()
	port := "0"
	var conf strings.Builder
	for i, s := range servers {
		host := fmt.Sprintf("127.0.0.%d", i+2)
		packets, err := net.ListenPacket("udp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		_, port, err = net.SplitHostPort(packets.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		for _, server := range []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: listener, Handler: s}} {
			started, ended := make(chan struct{}), make(chan struct{})
			server.NotifyStartedFunc = func() { close(started) }
			go func() {
				defer close(ended)
				if err := server.ActivateAndServe(); err != nil {
					t.Error(err)
				}
			}()
			<-started
			t.Cleanup(func() {
				if err := server.Shutdown(); err != nil {
					t.Error(err)
				}
				<-ended
			})
		}
		fmt.Fprintf(&conf, "nameserver %s\n", host)
	}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return Resolver{Conf: path, port: port}
}

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

const api = "api.internal.prod."

func TestLookup(t *testing.T) {
	many := make([]string, 100)
	var hundred []netip.Addr
	for i := range many {
		many[i] = fmt.Sprintf("%s 10 IN A 10.0.0.%d", api, i)
		hundred = append(hundred, netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", i)))
	}
	good := func() *nameServer { return &nameServer{records: []string{api + " 10 IN A 10.0.0.1"}} }
	for name, test := range map[string]struct {
		servers []*nameServer
		want    []netip.Addr
		err     string
		asked   []int // questions to each server
	}{
		"both families, in order, once each": {
			servers: []*nameServer{{records: []string{
				api + " 10 IN A 10.0.0.2", api + " 10 IN A 10.0.0.1", api + " 10 IN A 10.0.0.2", api + " 10 IN AAAA fd00::1",
			}}},
			want: addrs("10.0.0.1", "10.0.0.2", "fd00::1"), asked: []int{2},
		},
		"an alias": {
			servers: []*nameServer{{records: []string{api + " 10 IN CNAME lb.prod.", "lb.prod. 10 IN A 10.0.0.9"}}},
			want:    addrs("10.0.0.9"), asked: []int{2},
		},
		"a name without addresses": {servers: []*nameServer{{}}, asked: []int{2}},
		"by TCP what does not fit UDP": {
			servers: []*nameServer{{records: many, narrow: true}}, want: hundred, asked: []int{4},
		},
		"the first that answers": {servers: []*nameServer{good(), {rcode: dns.RcodeServerFailure}}, want: addrs("10.0.0.1"), asked: []int{2, 0}},
		"the next, when the first fails": {
			servers: []*nameServer{{rcode: dns.RcodeServerFailure}, {rcode: dns.RcodeRefused}, good()}, want: addrs("10.0.0.1"), asked: []int{1, 1, 2},
		},
		"the next, when the first is silent": {servers: []*nameServer{{silent: true}, good()}, want: addrs("10.0.0.1"), asked: []int{1, 2}},
		"that there is no such name is an answer": {
			servers: []*nameServer{{rcode: dns.RcodeNameError}, good()}, err: "127.0.0.2:PORT: api.internal.prod: no such name", asked: []int{1, 0},
		},
		"all fail": {
			servers: []*nameServer{{rcode: dns.RcodeServerFailure}, {rcode: dns.RcodeRefused}}, asked: []int{1, 1},
			err: "127.0.0.2:PORT: api.internal.prod: SERVFAIL\n127.0.0.3:PORT: api.internal.prod: REFUSED",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := serveNames(t, test.servers...)
			got, err := r.Lookup(t.Context(), "api.internal.prod")
			said := ""
			if err != nil {
				said = strings.ReplaceAll(err.Error(), r.port, "PORT")
			}
			if !slices.Equal(got, test.want) || said != test.err {
				t.Errorf("got %v, %q; want %v, %q", got, said, test.want, test.err)
			}
			for i, s := range test.servers {
				if asked := s.questions(); len(asked) != test.asked[i] {
					t.Errorf("server %d was asked %v, want %d questions", i, asked, test.asked[i])
				}
			}
		})
	}
}

// The name is asked for as it stands: search domains are for people.
func TestLookupAsksForTheNameItself(t *testing.T) {
	s := &nameServer{narrow: true, records: []string{api + " 10 IN A 10.0.0.1"}}
	r := serveNames(t, s)
	if err := os.WriteFile(r.Conf, []byte("search example.org\noptions ndots:9\nnameserver 127.0.0.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lookup(t.Context(), "api.internal.prod"); err != nil {
		t.Fatal(err)
	}
	want := []string{"udp A " + api, "tcp A " + api, "udp AAAA " + api, "tcp AAAA " + api}
	if got := s.questions(); !slices.Equal(got, want) {
		t.Errorf("asked %v, want %v", got, want)
	}
}

func TestLookupWithoutNameServers(t *testing.T) {
	r := Resolver{Conf: filepath.Join(t.TempDir(), "resolv.conf")}
	if _, err := r.Lookup(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "name servers: ") {
		t.Errorf("no resolv.conf: %v", err)
	}
	if err := os.WriteFile(r.Conf, []byte("# nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lookup(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "names no name server") {
		t.Errorf("an empty resolv.conf: %v", err)
	}
}
