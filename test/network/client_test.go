//go:build network

package network

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	authentication "k8s.io/api/authentication/v1"

	"rekindle/test/lab/node"
	"rekindle/test/vpc"
)

// askEvery is how often a client asks, if it is not waiting for an answer.
const askEvery = 100 * time.Millisecond

// patience is how long a client waits for an answer: longer than the proxy takes to give a connection up.
const patience = 15 * time.Second

// client asks an API server who it is, as the kubelet of its minion does: from the minion's network, with its certificate, at the
// address that its /etc/hosts has for the API, over a connection that it keeps.
type client struct {
	node *node.Node
	user string
	http *http.Client
	stop context.CancelFunc
	done chan struct{}

	dialled atomic.Int64

	mu       sync.Mutex
	last     time.Time // of the last answer
	by       string    // who gave it
	refused  error     // that the last question had none
	counted  seen
	dialsWas int64
	want     string // unless empty: a connection to any other master is closed after an answer
}

// seen is what a client saw since count.
type seen struct {
	answers, failures, connections int
	longest                        time.Duration  // from one answer to the next, or to now
	slowest                        time.Duration  // until a question failed
	by                             map[string]int // answers of each master, by its address
}

// follow has a client on a minion, once.
func (c *Cluster) follow(ctx context.Context, n *node.Node) {
	c.t.Helper()
	if c.clients[n.ID] != nil {
		return
	}
	f := &client{node: n, done: make(chan struct{}), last: time.Now(), counted: seen{by: map[string]int{}}}
	c.Await(ctx, "the kubelet's certificate", func() error { return f.identify(c.Host(n.ID)) })
	asking, stop := context.WithCancel(context.Background())
	f.stop = stop
	c.clients[n.ID] = f
	go f.run(asking)
}

// identify reads whom the kubelet trusts, and who it is.
func (f *client) identify(h *vpc.Host) error {
	authority, err := os.ReadFile(f.node.Path("/etc/kubernetes/pki/ca.crt"))
	if err != nil {
		return err
	}
	const own = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	certificate, err := tls.LoadX509KeyPair(f.node.Path(own), f.node.Path(own))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return errors.New("no certificate authority")
	}
	f.user = certificate.Leaf.Subject.CommonName
	f.http = &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}},
		ForceAttemptHTTP2: true, MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			hosts, err := os.ReadFile(f.node.Path("/etc/hosts"))
			if err != nil {
				return nil, err
			}
			at := lookup(hosts, apiName)
			if len(at) != 1 || at[0] != netip.MustParseAddr("127.0.0.1") {
				return nil, fmt.Errorf("/etc/hosts: %s is %v, not the proxy", apiName, at)
			}
			f.dialled.Add(1)
			return h.Dial(ctx, network, netip.AddrPortFrom(at[0], 6443).String())
		},
	}}
	return nil
}

func (f *client) run(ctx context.Context) {
	defer close(f.done)
	ticks := time.NewTicker(askEvery)
	defer ticks.Stop()
	for {
		begun := time.Now()
		by, err := f.ask(ctx)
		if ctx.Err() != nil {
			f.http.CloseIdleConnections()
			return
		}
		f.mu.Lock()
		now := time.Now()
		if f.refused = err; err != nil {
			f.counted.failures++
			f.counted.slowest = max(f.counted.slowest, now.Sub(begun))
		} else {
			f.counted.answers++
			f.counted.by[by]++
			f.counted.longest = max(f.counted.longest, now.Sub(f.last))
			f.last, f.by = now, by
			if f.want != "" && f.want != by {
				f.http.CloseIdleConnections()
			}
		}
		f.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-ticks.C:
		}
	}
}

// ask returns the address of the master that answered.
func (f *client) ask(ctx context.Context) (by string, err error) {
	const path = "https://" + apiName + ":6443/apis/authentication.k8s.io/v1/selfsubjectreviews"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, path,
		strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := f.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var review authentication.SelfSubjectReview
	err = json.NewDecoder(response.Body).Decode(&review)
	_, rest := io.Copy(io.Discard, response.Body) // a body that was not read to its end ends the connection
	if err := errors.Join(err, rest); err != nil {
		return "", fmt.Errorf("%s: %w", response.Status, err)
	}
	if got := review.Status.UserInfo.Username; got != f.user {
		return "", fmt.Errorf("%s: taken for %q, not for %q", response.Status, got, f.user)
	}
	for _, address := range response.TLS.PeerCertificates[0].IPAddresses {
		if a, ok := netip.AddrFromSlice(address); ok && network.Contains(a.Unmap()) {
			return a.Unmap().String(), nil
		}
	}
	return "", errors.New("the certificate of the API server has no address of a master")
}

// network is where region has its instances.
var network = netip.MustParsePrefix("10.61.0.0/16")

// count begins to count anew.
func (f *client) count() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counted, f.dialsWas, f.last = seen{by: map[string]int{}}, f.dialled.Load(), time.Now()
}

// saw is what was counted, until now.
func (f *client) saw() seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.counted
	s.by = maps.Clone(s.by)
	s.longest = max(s.longest, time.Since(f.last))
	s.connections = int(f.dialled.Load() - f.dialsWas)
	return s
}

// answering is who answered last, and an error when the last question had no answer.
func (f *client) answering() (by string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.by, f.refused
}

func (f *client) answeredSince(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.last.Before(t):
		return nil
	case f.refused != nil:
		return fmt.Errorf("the client on %s: %w", f.node.ID, f.refused)
	}
	return fmt.Errorf("the client on %s has no answer yet", f.node.ID)
}

// answered waits until the client on each of some minions has an answer to a question of now.
func (c *Cluster) answered(ctx context.Context, nodes ...*node.Node) time.Duration {
	c.t.Helper()
	now := time.Now()
	return c.Await(ctx, "clients are answered", func() error {
		var errs []error
		for _, n := range nodes {
			errs = append(errs, c.clients[n.ID].answeredSince(now))
		}
		return errors.Join(errs...)
	})
}

// count has the clients on some minions count anew.
func (c *Cluster) count(nodes ...*node.Node) {
	for _, n := range nodes {
		c.clients[n.ID].count()
	}
}

// saw adds up what the clients on some minions saw, and tells it.
func (c *Cluster) saw(what string, nodes ...*node.Node) seen {
	c.t.Helper()
	all := seen{by: map[string]int{}}
	for _, n := range nodes {
		s := c.clients[n.ID].saw()
		all.answers, all.failures, all.connections = all.answers+s.answers, all.failures+s.failures, all.connections+s.connections
		all.longest, all.slowest = max(all.longest, s.longest), max(all.slowest, s.slowest)
		for by, n := range s.by {
			all.by[by] += n
		}
	}
	c.t.Logf("measured: %s: %d clients: %d answers of %d masters, %d failures, %d new connections; longest without an answer %s",
		what, len(nodes), all.answers, len(all.by), all.failures, all.connections, all.longest.Round(10*time.Millisecond))
	return all
}

// stop ends the clients.
func (c *Cluster) stop() {
	for _, f := range c.clients {
		f.stop()
		<-f.done
	}
}

// drop ends the clients on minions that end.
func (c *Cluster) drop(nodes ...*node.Node) {
	for _, n := range nodes {
		if f := c.clients[n.ID]; f != nil {
			f.stop()
			<-f.done
			delete(c.clients, n.ID)
		}
	}
}

// aim has the client on a minion connect until a master answers: the proxy takes whichever it likes.
func (c *Cluster) aim(ctx context.Context, minion, master *node.Node) {
	c.t.Helper()
	f, want := c.clients[minion.ID], c.Address(master).String()
	f.prefer(want)
	c.Within(ctx, 30*time.Second, minion.ID+" is answered by "+want, func() error {
		by, err := f.answering()
		if err == nil && by != want {
			err = errors.New("it is answered by " + by)
		}
		return err
	})
	f.prefer("")
}

func (f *client) prefer(master string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.want = master
}

// lookup are the addresses that a hosts file has for a name, in order.
func lookup(hosts []byte, name string) []netip.Addr {
	var all []netip.Addr
	for line := range strings.Lines(string(hosts)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !slices.Contains(fields[1:], name) {
			continue
		}
		if a, err := netip.ParseAddr(fields[0]); err == nil {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}
