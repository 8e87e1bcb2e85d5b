package route53_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"

	"rekindle/agent/discovery"
	"rekindle/agent/discovery/route53"
	"rekindle/test/cloud"
)

// sameRecords checks that what others had is as it was.
func sameRecords(t *testing.T, before, after []cloud.RecordSet, what string) {
	t.Helper()
	for _, b := range before {
		i := slices.IndexFunc(after, func(a cloud.RecordSet) bool {
			return a.Name == b.Name && a.Type == b.Type && a.SetIdentifier == b.SetIdentifier
		})
		if i < 0 {
			t.Errorf("%s: %s %s is gone", what, b.Type, b.Name)
		} else if diff := cmp.Diff(b, after[i]); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

// crowd is five masters with a keeper each, and others who write into the same zone.
type crowd struct {
	*world
	rand    *rand.Rand
	keepers []*route53.Keeper
	ids     []string // of their instances
	foreign []cloud.RecordSet
	side    []int // of each master: those of one side see each other
	alive   []bool
}

var everything = []cloud.Effect{
	cloud.Deny, cloud.Throttle, cloud.ServerError, cloud.Unavailable, cloud.Reset, cloud.BlackHole, cloud.Latency(8 * time.Second), cloud.Latency(30 * time.Second),
}

// event is one thing that happens.
func (c *crowd) event() string {
	switch n := c.rand.IntN(9); n {
	case 0:
		effect := everything[c.rand.IntN(len(everything))]
		fault := cloud.Fault{Service: "route53", Do: effect, Probability: []float64{0.3, 1}[c.rand.IntN(2)],
			Until: time.Now().Add(time.Duration(c.rand.IntN(300)) * time.Second)}
		first := c.rand.IntN(len(c.ids))
		for _, fault.Instance = range c.ids[first:] {
			c.Faults().Add(fault)
		}
		return fmt.Sprintf("%s for masters from %d on", effect, first)
	case 1:
		own := chance(c.rand.Uint64()) // the keepers' goroutines ask it
		c.setLoss(func() loss { return loss(own.IntN(3)) })
		return "answers are lost"
	case 2:
		c.setLoss(func() loss { return kept })
		return "answers arrive"
	case 3:
		for i := range c.side {
			c.side[i] = c.rand.IntN(2)
		}
		c.see()
		return fmt.Sprint("partition ", c.side)
	case 4:
		clear(c.side)
		c.see()
		return "no partition"
	case 5, 6:
		i := c.rand.IntN(len(c.alive))
		c.alive[i] = !c.alive[i]
		c.see()
		return fmt.Sprintf("master %d lives: %v", i, c.alive[i])
	case 7:
		return c.intrude()
	default:
		i := c.rand.IntN(len(c.keepers))
		c.tell(i)
		return fmt.Sprintf("master %d has another view", i)
	}
}

// intrude is somebody else who creates a record, or takes the marker off one of ours and so makes it his.
func (c *crowd) intrude() string {
	name := []string{"etcd-cn-north-1a", "etcd-cn-north-1b", "www"}[c.rand.IntN(3)] + ".internal." + clusterName
	if marker := c.record("_rekindle-a."+name, "TXT"); marker != nil {
		r := c.record(name, "A")
		if r == nil || c.write(types.ChangeActionDelete, *marker) != nil {
			return "nothing: a record went meanwhile"
		}
		if now := c.record(name, "A"); now != nil { // written again in between, it would have a marker
			c.foreign = append(c.foreign, *now)
		}
		return "somebody takes over " + name
	}
	r := cloud.RecordSet{Name: name, Type: "A", TTL: 60, Values: []string{"10.9.9.9"}}
	if c.rand.IntN(2) == 0 {
		r.SetIdentifier = "blue"
	}
	if err := c.write(types.ChangeActionCreate, r); err != nil {
		return "nothing: " + err.Error()
	}
	for _, now := range c.Records(c.zone) {
		if now.Name == name+"." && now.Type == "A" && now.SetIdentifier == r.SetIdentifier {
			c.foreign = append(c.foreign, now)
		}
	}
	return "somebody creates " + name
}

// see tells every living master whom it sees.
func (c *crowd) see() {
	for i := range c.keepers {
		if c.alive[i] {
			update(c.t, c.keepers[i], i, c.seen(i))
		}
	}
}

func (c *crowd) seen(self int) (peers []discovery.Sighting) {
	for i := range c.keepers {
		if c.alive[i] && c.side[i] == c.side[self] {
			peers = append(peers, master(i))
		}
	}
	return peers
}

// tell gives a master a view of its own: some API servers seem unwell.
func (c *crowd) tell(i int) {
	if !c.alive[i] {
		return
	}
	peers := c.seen(i)
	for n := range peers {
		if c.rand.IntN(3) == 0 {
			peers[n].API = discovery.Unhealthy
		}
	}
	update(c.t, c.keepers[i], i, peers)
}

func TestManyKeepersAndEverythingGoesWrong(t *testing.T) {
	seeds := 30
	if testing.Short() {
		seeds = 10
	}
	var batches, conflicts, second, minute int
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := storm(t, uint64(seed))
				requests := slices.DeleteFunc(c.Requests(), func(r cloud.Request) bool { return r.Instance == "" })
				second, minute = max(second, busiest(requests, time.Second)), max(minute, busiest(requests, time.Minute))
				for _, r := range requests {
					if r.Action == "ChangeResourceRecordSets" && r.Status == 200 {
						batches++
					}
					if r.Code == "InvalidChangeBatch" {
						conflicts++
					}
				}
			})
		})
	}
	t.Logf("%d batches applied, %d failed as a whole; at most %d requests in a second and %d in a minute", batches, conflicts, second, minute)
	if conflicts == 0 {
		t.Error("no two keepers ever met")
	}
	if second > 5*2 || minute > 60 { // each keeper sends two at once at most; the account has five per second
		t.Errorf("%d requests in a second, %d in a minute", second, minute)
	}
}

// storm lets 40 things happen, a quarter of an hour of peace, and compares.
func storm(t *testing.T, seed uint64) *crowd {
	c := &crowd{world: newWorld(t, "example.com", true), rand: chance(seed), side: make([]int, 5), alive: []bool{true, true, true, true, true}}
	c.put(cloud.RecordSet{Name: "k.example.com", Type: "A", TTL: 60, Values: []string{"10.9.9.1"}},
		cloud.RecordSet{Name: "api.internal.other.example.com", Type: "A", TTL: 10, Values: []string{"10.9.9.2"}},
		cloud.RecordSet{Name: "_rekindle-a.api.internal.other.example.com", Type: "TXT", TTL: 300, Values: []string{`"rekindle cluster=other.example.com v=1 serial=4"`}})
	c.foreign = c.Records(c.zone)
	for range c.alive {
		i, err := c.Launch(cloud.InstanceSpec{Role: "master"})
		if err != nil {
			t.Fatal(err)
		}
		c.ids = append(c.ids, i.ID)
		c.keepers = append(c.keepers, c.keeperOf(c.Credentials(i.ID), route53.Options{ZoneID: c.zone}))
	}
	c.see()
	for range 40 {
		time.Sleep(time.Duration(c.rand.IntN(40_000)) * time.Millisecond)
		what := c.event()
		t.Log(time.Now().Format(time.TimeOnly), what)
		sameRecords(t, c.foreign, c.Records(c.zone), what)
		if t.Failed() {
			return c
		}
	}
	c.Faults().Clear()
	c.setLoss(func() loss { return kept })
	clear(c.side)
	for i := range c.alive {
		c.alive[i] = true
	}
	c.see()
	time.Sleep(15 * time.Minute)
	sameRecords(t, c.foreign, c.Records(c.zone), "at the end")
	for name, want := range discovery.Names(clusterName, c.seen(0)) {
		if !slices.ContainsFunc(c.foreign, func(r cloud.RecordSet) bool { return strings.TrimSuffix(r.Name, ".") == name }) {
			c.wantRecord(name, want...)
		}
	}
	return c
}
