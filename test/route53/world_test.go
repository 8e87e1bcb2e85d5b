// Package route53_test drives the keeper of agent/discovery/route53 through the real SDK against the fake cloud, in
// simulated time: the requests are real to the last header, but for the network under them.
package route53_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"rekindle/agent/aws"
	"rekindle/agent/discovery"
	"rekindle/agent/discovery/route53"
	"rekindle/test/cloud"
)

const clusterName = "k.example.com"

// world is a region in China with one private zone, without sockets.
type world struct {
	*cloud.Cloud
	t    *testing.T
	zone string
	// host and scope are what every request must be addressed to and signed for.
	host, scope string

	stops []func() // ends a keeper, in the order of their start

	mu sync.Mutex
	// lose is asked after a batch was applied: the connection breaks (reset) or nothing ever comes (silence).
	lose func() loss
}

// outsider is the network of others: what goes wrong for the masters does not for them.
type outsider struct{ *world }

// RoundTrip is world's without losses.
func (o outsider) RoundTrip(r *http.Request) (*http.Response, error) { return o.serve(r, nil) }

type loss int

const (
	kept loss = iota
	reset
	silence
)

func newWorld(t *testing.T, zone string, private bool) *world {
	t.Helper()
	w := &world{
		Cloud: cloud.New(cloud.Options{Region: "cn-north-1", Route53: true}), t: t,
		host: "route53.amazonaws.com.cn", scope: "/cn-northwest-1/route53/aws4_request",
		lose: func() loss { return kept },
	}
	w.zone = w.CreateZone(zone, private)
	return w
}

// RoundTrip serves a request as a server would that the client reaches over a connection.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	return w.serve(r, func() loss {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.lose()
	})
}

func (w *world) serve(r *http.Request, lose func() loss) (*http.Response, error) {
	if r.URL.Host != w.host || !strings.Contains(r.Header.Get("Authorization"), w.scope) {
		w.t.Errorf("a request to %s, signed as %s", r.URL.Host, r.Header.Get("Authorization"))
	}
	in := r.Clone(r.Context())
	in.Host = r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out := httptest.NewRecorder()
	if !served(w.Handler(), out, in) {
		if r.Context().Err() != nil {
			return nil, context.Cause(r.Context())
		}
		return nil, broken()
	}
	if r.Method == http.MethodPost && out.Code == http.StatusOK && lose != nil {
		switch lose() {
		case reset:
			return nil, broken()
		case silence:
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		}
	}
	return out.Result(), nil
}

func broken() error { return &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET} }

// served is false when the handler cut the connection.
func served(h http.Handler, out http.ResponseWriter, in *http.Request) (ok bool) {
	defer func() {
		if r := recover(); r != nil && !errors.Is(r.(error), http.ErrAbortHandler) {
			panic(r)
		}
	}()
	h.ServeHTTP(out, in)
	return true
}

func (w *world) setLoss(lose func() loss) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose = lose
}

// clients are those of whoever holds the credentials.
func (w *world) clients(c cloud.Credentials, network http.RoundTripper) *aws.Clients {
	w.t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": c.AccessKeyID, "AWS_SECRET_ACCESS_KEY": c.SecretAccessKey, "AWS_SESSION_TOKEN": c.SessionToken,
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PROFILE": "", "AWS_REGION": "",
		"AWS_CA_BUNDLE": "", "AWS_ENDPOINT_URL": "", "AWS_MAX_ATTEMPTS": "", "AWS_USE_FIPS_ENDPOINT": "", "AWS_USE_DUALSTACK_ENDPOINT": "",
	} {
		w.t.Setenv(name, value)
	}
	clients, err := aws.New(w.t.Context(), aws.Options{
		Region: w.Region(), Partition: "aws-cn", DNSSuffix: "amazonaws.com.cn", Transport: network,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return clients
}

// keeper runs one until the test ends.
func (w *world) keeper(o route53.Options) *route53.Keeper { return w.keeperOf(w.AdminCredentials(), o) }

func (w *world) keeperOf(c cloud.Credentials, o route53.Options) *route53.Keeper {
	w.t.Helper()
	client, err := route53.NewClient(w.t.Context(), w.clients(c, w))
	if err != nil {
		w.t.Fatal(err)
	}
	o.API = client
	if o.Cluster == "" {
		o.Cluster = clusterName
	}
	o.Logger = slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	k, err := route53.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.stops = append(w.stops, cancel)
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	return k
}

// write is what another user of the zone does, in one batch.
func (w *world) write(action types.ChangeAction, sets ...cloud.RecordSet) error {
	batch := &types.ChangeBatch{}
	for _, r := range sets {
		set := &types.ResourceRecordSet{Name: &r.Name, Type: types.RRType(r.Type), TTL: new(int64(r.TTL))}
		if r.SetIdentifier != "" {
			set.SetIdentifier, set.Weight = &r.SetIdentifier, new(int64(1))
		}
		for _, v := range r.Values {
			set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: &v})
		}
		batch.Changes = append(batch.Changes, types.Change{Action: action, ResourceRecordSet: set})
	}
	_, err := w.clients(w.AdminCredentials(), outsider{w}).Route53().ChangeResourceRecordSets(w.t.Context(),
		&sdk.ChangeResourceRecordSetsInput{HostedZoneId: &w.zone, ChangeBatch: batch})
	return err
}

// put is write for what must work.
func (w *world) put(sets ...cloud.RecordSet) {
	w.t.Helper()
	if err := w.write(types.ChangeActionCreate, sets...); err != nil {
		w.t.Fatal(err)
	}
}

// record is what the zone holds under a name and type.
func (w *world) record(name, kind string) *cloud.RecordSet {
	for _, r := range w.Records(w.zone) {
		if r.Name == name+"." && r.Type == kind {
			return &r
		}
	}
	return nil
}

// wantRecord compares the addresses of a name's A record; none: it must not exist.
func (w *world) wantRecord(name string, addresses ...netip.Addr) {
	w.t.Helper()
	var want, got []string
	for _, a := range addresses {
		want = append(want, a.String())
	}
	if r := w.record(name, "A"); r != nil {
		got = r.Values
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: %v, want %v", name, got, want)
	}
	if marked := w.record("_rekindle-a."+name, "TXT") != nil; marked != (len(want) > 0) {
		w.t.Errorf("%s: marker %v, %d addresses", name, marked, len(want))
	}
}

// busiest is the largest number of requests within a time, by the cloud's log.
func busiest(requests []cloud.Request, within time.Duration) (most int) {
	slices.SortFunc(requests, func(a, b cloud.Request) int { return a.Time.Compare(b.Time) })
	first := 0
	for n, r := range requests {
		for r.Time.Sub(requests[first].Time) >= within {
			first++
		}
		most = max(most, n-first+1)
	}
	return most
}

// master is a node with an API server and etcd.
func master(n int) discovery.Sighting {
	return discovery.Sighting{State: discovery.Alive, Peer: discovery.Peer{
		Instance: "i-" + string(rune('a'+n)), Role: "master", Zone: "cn-north-1" + string(rune('a'+n%3)),
		Addresses: []netip.Addr{address(n)}, APIPort: 6443, API: discovery.Healthy, Etcd: discovery.Healthy,
	}}
}

func address(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, 0, byte(10 + n)}) }

func apiName() string { return discovery.APIName(clusterName) }

// update tells a keeper which masters its master sees.
func update(t *testing.T, k *route53.Keeper, self int, peers []discovery.Sighting) {
	t.Helper()
	if err := k.Update(route53.ViewOf(clusterName, master(self).Instance, peers)); err != nil {
		t.Fatal(err)
	}
}

func masters(ns ...int) (all []discovery.Sighting) {
	for _, n := range ns {
		all = append(all, master(n))
	}
	return all
}

// chance makes repeatable choices.
func chance(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 53)) }
