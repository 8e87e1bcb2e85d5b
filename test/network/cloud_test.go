//go:build network

package network

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"rekindle/test/cloud"
)

// zoneAt is where this test's Route 53 listens: the first address of the region's network.
const zoneAt = "10.61.0.1:4567"

// recordsLimit is how long records may be wrong once Route 53 answers: its masters may be in the fourth pause after a failure,
// of up to 40 s, and read what they wrote after 5 s.
const recordsLimit = 75 * time.Second

// foreign are records of the zone that somebody else made; the second one has a name that masters would like to keep.
var foreign = []cloud.RecordSet{
	{Name: "www.internal.demo.", Type: "A", TTL: 60, Values: []string{"192.0.2.1"}},
	{Name: "etcd-cn-northwest-1b.internal.demo.", Type: "A", TTL: 60, Values: []string{"192.0.2.2"}},
}

// zone is Route 53 with a zone, which loses answers.
type zone struct {
	*Cluster
	id     string
	denied *cloud.ActiveFault

	mu   sync.Mutex
	lose int // answers to batches that are applied
}

// EC2 refuses three of four requests all the time, and Route 53 denies, then loses the answer to a batch that it applied, and then
// says nothing. A cluster boots, and a master is replaced. Nothing in the cluster depends on Route 53; once it answers, its records
// are right, and those of others are as they were.
func TestThrottled(t *testing.T) {
	z := &zone{}
	on(t, Shape{Masters: 3, Minions: 2, Route53: true, Before: z.make,
		Config: "aws: {endpoints: {route53: \"http://" + zoneAt + "\"}}\n"}, func(ctx context.Context, c *Cluster) {
		c.Step("half applied", func(t *testing.T) {
			c.Within(ctx, 30*time.Second, "a master says that Route 53 denies", func() error { return c.zoneIs("denied") })
			z.loseAnswers(1)
			z.denied.Remove()
			took := c.Within(ctx, recordsLimit, "the records are right", z.right)
			t.Logf("measured: Route 53 answers again, but for the first batch that it applies: records are right after %s", took)
			c.Within(ctx, recordsLimit, "a master finds them right", func() error { return c.zoneIs("ready") })
			if left := z.loseAnswers(0); left != 0 {
				t.Error("no answer was lost: this proves nothing")
			}
		})
		c.Step("silent", func(t *testing.T) {
			silence := c.Cloud.Faults().Add(cloud.Fault{Service: "route53", Do: cloud.BlackHole})
			victim, all := c.Members(masters)[0], c.Members(minions)
			gone, begun := c.Address(victim), time.Now()
			c.count(all...)
			c.replace(victim)
			c.Whole(ctx, rebuildLimit, 3, 2)
			t.Logf("measured: with EC2 throttled and Route 53 silent, a master is replaced and every node knows it after %s", since(begun))
			if err := c.nowhere(gone); err != nil {
				t.Error(err)
			}
			if saw := c.saw("throttled", all...); saw.longest > resetLimit {
				t.Errorf("%+v, want no more than %s without an answer", saw, resetLimit)
			}
			if silence.Hits() == 0 {
				t.Error("nobody asked Route 53: this proves nothing")
			}
			silence.Remove()
			took := c.Within(ctx, recordsLimit, "the records are right", z.right)
			t.Logf("measured: Route 53 answers again: records are right after %s", took)
		})
	})
}

// make begins with all of Route 53 refused.
func (z *zone) make(c *Cluster) {
	z.Cluster = c
	z.id = c.Cloud.CreateZone("internal.demo", true)
	server := httptest.NewUnstartedServer(http.HandlerFunc(z.serve))
	l, err := net.Listen("tcp", zoneAt)
	if err != nil {
		c.t.Fatal(err)
	}
	server.Listener = l
	server.Start()
	c.whole.Cleanup(func() { server.CloseClientConnections() })
	z.putForeign()
	c.Cloud.Faults().Add(cloud.Fault{Service: "ec2", Probability: 0.75, Do: cloud.Throttle})
	z.denied = c.Cloud.Faults().Add(cloud.Fault{Service: "route53", Do: cloud.Deny})
}

// putForeign writes the records of others, as the account's administrator.
func (z *zone) putForeign() {
	z.t.Helper()
	admin := z.Cloud.AdminCredentials()
	client := route53.New(route53.Options{
		Region: z.Cloud.Region(), BaseEndpoint: aws.String("http://" + zoneAt),
		Credentials: credentials.NewStaticCredentialsProvider(admin.AccessKeyID, admin.SecretAccessKey, ""),
	})
	batch := &types.ChangeBatch{}
	for _, r := range foreign {
		set := &types.ResourceRecordSet{Name: &r.Name, Type: types.RRType(r.Type), TTL: aws.Int64(int64(r.TTL)),
			ResourceRecords: []types.ResourceRecord{{Value: &r.Values[0]}}}
		batch.Changes = append(batch.Changes, types.Change{Action: types.ChangeActionCreate, ResourceRecordSet: set})
	}
	_, err := client.ChangeResourceRecordSets(z.t.Context(), &route53.ChangeResourceRecordSetsInput{HostedZoneId: &z.id, ChangeBatch: batch})
	if err != nil {
		z.t.Fatal(err)
	}
}

// serve answers as Route 53 does, or cuts the connection after it has applied a batch.
func (z *zone) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		z.Cloud.Handler().ServeHTTP(w, r)
		return
	}
	out := httptest.NewRecorder()
	z.Cloud.Handler().ServeHTTP(out, r)
	z.mu.Lock()
	lost := out.Code == http.StatusOK && z.lose > 0
	if lost {
		z.lose--
	}
	z.mu.Unlock()
	if lost {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(out.Code)
	_, _ = w.Write(out.Body.Bytes()) // the client may be gone
}

// loseAnswers has so many answers to batches that are applied get lost from now on, and returns how many of the last ones were
// not yet.
func (z *zone) loseAnswers(n int) (left int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	left, z.lose = z.lose, n
	return left
}

// right is an error unless the API's name has the masters, and the records of others are as they were.
func (z *zone) right() error {
	records := z.Cloud.Records(z.id)
	var got []netip.Addr
	for _, r := range records {
		if r.Name != apiName+"." || r.Type != "A" {
			continue
		}
		for _, value := range r.Values {
			got = append(got, netip.MustParseAddr(value))
		}
	}
	slices.SortFunc(got, netip.Addr.Compare)
	if want := z.Addresses(z.Members(masters)...); !slices.Equal(got, want) {
		return fmt.Errorf("%s has %v, not %v", apiName, got, want)
	}
	for _, want := range foreign {
		kept := func(r cloud.RecordSet) bool {
			return r.Name == want.Name && r.Type == want.Type && r.TTL == want.TTL && slices.Equal(r.Values, want.Values)
		}
		if !slices.ContainsFunc(records, kept) {
			return fmt.Errorf("%+v is not as it was: %+v", want, records)
		}
	}
	return nil
}

// zoneIs is an error unless some master says so of Route 53.
func (c *Cluster) zoneIs(state string) error {
	said := []string{}
	for _, n := range c.Members(masters) {
		s, err := n.Status()
		if err != nil {
			return err
		}
		if s.Discovery != nil && s.Discovery.Route53 != nil {
			if s.Discovery.Route53.State == state {
				return nil
			}
			said = append(said, fmt.Sprintf("%+v", *s.Discovery.Route53))
		}
	}
	return fmt.Errorf("no master says %q: %v", state, said)
}
