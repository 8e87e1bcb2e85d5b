package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/aws"
	"rekindle/agent/config"
	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip"
	"rekindle/agent/discovery/gossip/gossiptest"
	"rekindle/agent/etcd"
	"rekindle/agent/store"
)

// answering is EC2: it answers every request in one way.
type answering struct {
	code     int
	body     string
	silent   bool
	requests atomic.Int32
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.requests.Add(1)
	if a.silent {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: a.code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

func refusing(code int, name string) *answering {
	return &answering{code: code, body: "<Response><Errors><Error><Code>" + name + "</Code><Message>no</Message></Error></Errors></Response>"}
}

// instancesSay is an answer to DescribeInstances.
func instancesSay(states map[string]string) *answering {
	var body strings.Builder
	body.WriteString("<DescribeInstancesResponse><reservationSet><item><instancesSet>")
	for id, state := range states {
		fmt.Fprintf(&body, "<item><instanceId>%s</instanceId><instanceState><name>%s</name></instanceState></item>", id, state)
	}
	body.WriteString("</instancesSet></item></reservationSet></DescribeInstancesResponse>")
	return &answering{code: 200, body: body.String()}
}

// finder is master i-1 at 10.0.0.1, of a cluster with this store and EC2.
func finder(t *testing.T, records store.Store, with *answering) *finding {
	t.Helper()
	for name, value := range map[string]string{"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_PROFILE": "", "AWS_MAX_ATTEMPTS": "", "AWS_CA_BUNDLE": ""} {
		t.Setenv(name, value)
	}
	clients, err := aws.New(t.Context(), aws.Options{Region: "eu-central-1", Transport: with})
	if err != nil {
		t.Fatal(err)
	}
	self := discovery.Peer{Instance: "i-1", Node: "n", Role: "master", API: discovery.Healthy, APIPort: 6443,
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	n := &node{inputs: &inputs{records: records, clients: clients}}
	n.config = *config.Default()
	n.config.Cluster = "prod"
	return &finding{Agent: &Agent{Options: Options{Logger: slog.New(slog.DiscardHandler)}}, n: n, own: self, self: self}
}

func seedOf(n byte) discovery.Seed {
	return discovery.Seed{Instance: fmt.Sprint("i-", n), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, n})}}
}

func seedsIn(t *testing.T, records store.Records) string {
	t.Helper()
	seeds, err := discovery.Seeds(t.Context(), records)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range seeds {
		names = append(names, s.Instance)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// TestEC2DoesNotAnswer: a master boots alone while EC2 refuses everybody, or says nothing. It asks rarely, takes nothing out of
// the store nor of Route 53, and finds the others as soon as one of them announces itself.
func TestEC2DoesNotAnswer(t *testing.T) {
	for name, made := range map[string]func() *answering{
		"throttled": func() *answering { return refusing(503, "RequestLimitExceeded") },
		"denied":    func() *answering { return refusing(403, "UnauthorizedOperation") },
		"silent":    func() *answering { return &answering{silent: true} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud, records := made(), store.NewDir(t.TempDir())
				if err := discovery.Announce(t.Context(), records, seedOf(3)); err != nil { // terminated since
					t.Fatal(err)
				}
				f := finder(t, records, cloud)
				network, keys := &gossiptest.Network{Latency: time.Millisecond}, gossip.NewKeyring(time.Now())
				ctx, cancel := context.WithCancel(t.Context())
				defer func() {
					cancel()
					time.Sleep(time.Minute) // of the bubble: what memberlist still runs comes to its end
				}()
				begin := func(self discovery.Peer, seeds func(context.Context) []gossip.Seed) *gossip.Gossip {
					at := netip.AddrPortFrom(self.Addresses[0], uint16(f.n.config.Discovery.Gossip.Port))
					g, err := gossip.Start(gossip.Options{Cluster: "prod", Self: self, Bind: at.Addr(), Port: int(at.Port()), Keys: keys,
						Transport: network.Transport(at), Seeds: seeds})
					if err != nil {
						t.Fatal(err)
					}
					go func() { _ = g.Run(ctx) }()
					return g
				}
				alone := begin(f.own, f.gossipSeeds)
				go f.withdraw(ctx)
				unseen := []netip.Addr{netip.MustParseAddr("10.0.0.3")}
				for range 60 { // as Route 53 does while it sees no majority
					time.Sleep(10 * time.Second)
					if gone, err := f.gone(ctx, unseen); err == nil || len(gone) > 0 {
						t.Fatalf("gone: %v, error %v", gone, err)
					}
				}
				if n := cloud.requests.Load(); n < 2 || n > 10 {
					t.Errorf("%d requests in ten minutes, want 2 to 10", n)
				}
				t.Logf("%d requests in ten minutes", cloud.requests.Load())
				time.Sleep(3 * time.Hour)
				if got := seedsIn(t, records); got != "i-3" {
					t.Errorf("the store has %q", got)
				}
				other := f.own
				other.Instance, other.Addresses = "i-2", []netip.Addr{netip.MustParseAddr("10.0.0.2")}
				begin(other, nil)
				if err := discovery.Announce(ctx, records, seedOf(2)); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				for alone.Living() != 2 && time.Since(began) < 5*time.Minute {
					time.Sleep(time.Second)
				}
				if took := time.Since(began); took > 50*time.Second {
					t.Errorf("found after %v", took)
				}
			})
		})
	}
}

// TestWithdraw: the seeds of instances that are no more go, of those that EC2 does not find only when it says so twice. All others stay.
func TestWithdraw(t *testing.T) {
	for name, c := range map[string]struct {
		cloud       *answering
		first, then string // what is left after 45 minutes, and after 3 hours
	}{
		"EC2 knows": {instancesSay(map[string]string{"i-1": "running", "i-2": "terminated", "i-3": "stopped", "i-5": "shutting-down"}),
			"i-1 i-3 i-4 i-5", "i-1 i-3 i-5"},
		"another account": {instancesSay(map[string]string{"i-2": "terminated"}), "i-1 i-2 i-3 i-4 i-5", "i-1 i-2 i-3 i-4 i-5"},
		"throttled":       {refusing(503, "RequestLimitExceeded"), "i-1 i-2 i-3 i-4 i-5", "i-1 i-2 i-3 i-4 i-5"},
		"denied":          {refusing(403, "UnauthorizedOperation"), "i-1 i-2 i-3 i-4 i-5", "i-1 i-2 i-3 i-4 i-5"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				records := store.NewDir(t.TempDir())
				for n := byte(1); n <= 5; n++ {
					if err := discovery.Announce(t.Context(), records, seedOf(n)); err != nil {
						t.Fatal(err)
					}
				}
				f := finder(t, records, c.cloud)
				ctx, cancel := context.WithCancel(t.Context())
				go f.withdraw(ctx)
				time.Sleep(45 * time.Minute)
				if got := seedsIn(t, records); got != c.first {
					t.Errorf("after 45 minutes: %q, want %q", got, c.first)
				}
				time.Sleep(135 * time.Minute)
				if got := seedsIn(t, records); got != c.then {
					t.Errorf("after 3 hours: %q, want %q", got, c.then)
				}
				if n := c.cloud.requests.Load(); n == 0 || n > 7 {
					t.Errorf("%d requests in 3 hours", n)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

// A master alone in the store asks nobody.
func TestWithdrawAsksOnlyAboutOthers(t *testing.T) {
	records := store.NewDir(t.TempDir())
	f := finder(t, records, instancesSay(nil))
	ask := func(context.Context, []string) (etcd.Instances, error) { return etcd.Instances{}, errors.New("asked") }
	for _, n := range []byte{0, 1} {
		if n > 0 {
			if err := discovery.Announce(t.Context(), records, seedOf(n)); err != nil {
				t.Fatal(err)
			}
		}
		before, _, _ := records.Get(t.Context(), discovery.SeedsKey)
		if err := f.withdrawGone(t.Context(), ask); err != nil {
			t.Error(err)
		}
		if after, _, _ := records.Get(t.Context(), discovery.SeedsKey); !bytes.Equal(before, after) {
			t.Errorf("the record became %s", after)
		}
	}
}
