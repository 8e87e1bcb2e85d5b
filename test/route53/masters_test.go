package route53_test

import (
	"context"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/route53"

	"rekindle/agent/aws"
	"rekindle/agent/discovery"
	"rekindle/agent/discovery/route53"
	"rekindle/test/cloud"
)

// five starts a keeper on each of five masters, which see each other.
func five(w *world) (keepers []*route53.Keeper) {
	for n := range 5 {
		keepers = append(keepers, w.keeper(route53.Options{}))
		update(w.t, keepers[n], n, masters(0, 1, 2, 3, 4))
	}
	return keepers
}

func changes(w *world) (n int) {
	for _, r := range w.Requests() {
		if r.Action == "ChangeResourceRecordSets" {
			n++
		}
	}
	return n
}

// A day of five masters: they start, one dies, another comes in its place. Nothing goes wrong.
func TestRequestsOfADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "example.com", true)
		keepers := five(w)
		time.Sleep(time.Minute)
		w.wantRecord(apiName(), address(0), address(1), address(2), address(3), address(4))
		w.stops[4]()
		for n := range 4 {
			update(t, keepers[n], n, masters(0, 1, 2, 3))
		}
		time.Sleep(5 * time.Second)
		w.wantRecord(apiName(), address(0), address(1), address(2), address(3))
		for n := range 4 {
			update(t, keepers[n], n, masters(0, 1, 2, 3, 5))
		}
		time.Sleep(24 * time.Hour)
		w.wantRecord(apiName(), address(0), address(1), address(2), address(3), address(5))
		second, all := busiest(w.Requests(), time.Second), len(w.Requests())
		t.Logf("%d requests in a day, %d batches, at most %d in a second", all, changes(w), second)
		if changes(w) != 3 || second > 5 || all > 5*24*12+100 {
			t.Errorf("%d requests in a day, %d batches, at most %d in a second", all, changes(w), second)
		}
	})
}

// Two masters are cut off from three; all reach Route 53. The three prevail, and nobody writes again until it is over.
func TestCutOffMastersTakeNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "example.com", true)
		keepers := five(w)
		time.Sleep(time.Minute)
		for _, n := range []int{0, 1} { // they notice first
			update(t, keepers[n], n, masters(0, 1))
		}
		time.Sleep(2 * time.Minute)
		w.wantRecord(apiName(), address(0), address(1), address(2), address(3), address(4))
		if held := keepers[0].Status().Held; len(held) != 3 {
			t.Errorf("held: %v", held)
		}
		for _, n := range []int{2, 3, 4} {
			update(t, keepers[n], n, masters(2, 3, 4))
		}
		time.Sleep(time.Minute)
		before := changes(w)
		for range 45 {
			time.Sleep(time.Minute)
			w.wantRecord(apiName(), address(2), address(3), address(4))
		}
		if n := changes(w) - before; n != 0 {
			t.Errorf("%d batches while nothing changed", n)
		}
		for n := range keepers {
			update(t, keepers[n], n, masters(0, 1, 2, 3, 4))
		}
		time.Sleep(time.Minute)
		w.wantRecord(apiName(), address(0), address(1), address(2), address(3), address(4))
	})
}

// Each of two sides believes the other dead, and neither is more than half: both stay listed.
func TestEvenPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "example.com", true)
		a, b := w.keeper(route53.Options{}), w.keeper(route53.Options{})
		update(t, a, 0, masters(0, 1))
		time.Sleep(time.Minute)
		update(t, a, 0, masters(0))
		update(t, b, 1, masters(1))
		time.Sleep(24 * time.Hour)
		w.wantRecord(apiName(), address(0), address(1))
		if n := changes(w); n != 1 {
			t.Errorf("%d batches", n)
		}
	})
}

// The first in rank may not write; the next one does, so the records are right.
func TestDeniedFirstIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "example.com", true)
		first, err := w.Launch(cloud.InstanceSpec{Role: "master"})
		if err != nil {
			t.Fatal(err)
		}
		w.Faults().Add(cloud.Fault{Instance: first.ID, Action: "ChangeResourceRecordSets", Do: cloud.Deny})
		a, b := w.keeperOf(w.Credentials(first.ID), route53.Options{}), w.keeper(route53.Options{})
		update(t, a, 0, masters(0, 1))
		update(t, b, 1, masters(0, 1))
		time.Sleep(time.Minute)
		w.wantRecord(apiName(), address(0), address(1))
		time.Sleep(10 * time.Minute)
		if s := a.Status(); s.State != route53.Ready { // there is nothing to write any more
			t.Errorf("%+v", s.Availability)
		}
	})
}

func TestTwoClustersInOneZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "example.com", true)
		here, there := w.keeper(route53.Options{}), w.keeper(route53.Options{Cluster: "k2.example.com"})
		update(t, here, 0, masters(0))
		if err := there.Update(route53.ViewOf("k2.example.com", "i-x", masters(7))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		w.wantRecord(apiName(), address(0))
		w.wantRecord(discovery.APIName("k2.example.com"), address(7))
		update(t, here, 0, nil)
		time.Sleep(time.Hour)
		w.wantRecord(discovery.APIName("k2.example.com"), address(7))
	})
}

// There is a public zone only, until somebody makes a private one.
func TestZoneThatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "example.com", false)
		k := w.keeper(route53.Options{})
		update(t, k, 0, masters(0))
		time.Sleep(10 * time.Minute)
		if s := k.Status(); s.State != route53.Unfit || s.Hint == "" {
			t.Errorf("%+v", s.Availability)
		}
		public := w.zone
		w.zone = w.CreateZone("example.com", true)
		time.Sleep(6 * time.Minute)
		w.wantRecord(apiName(), address(0))
		if s := k.Status(); s.Zone != w.zone || s.State != route53.Ready {
			t.Errorf("%+v", s)
		}
		if len(w.Records(public)) != 2 {
			t.Error("the public zone was written")
		}
	})
}

// Once over real sockets, with the operator's own endpoint.
func TestOverTheNetwork(t *testing.T) {
	c := cloud.New(cloud.Options{Region: "cn-north-1", Route53: true})
	w := &world{Cloud: c, t: t, zone: c.CreateZone("example.com", true)}
	server, err := c.ServeAPI(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	w.clients(c.AdminCredentials(), http.DefaultTransport) // sets the environment
	clients, err := aws.New(t.Context(), aws.Options{Region: "cn-north-1", Partition: "aws-cn", Endpoints: map[string]string{"route53": server.URL}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := route53.NewClient(t.Context(), clients)
	if err != nil {
		t.Fatal(err)
	}
	// Through the interface as it is: the keeper's pace would take seconds.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	zones, err := client.ZonesNamed(ctx, "example.com.")
	if err != nil || len(zones) != 1 || zones[0].ID != w.zone || !zones[0].Private {
		t.Fatalf("%+v, %v", zones, err)
	}
	record := route53.Record{Name: apiName() + ".", Type: "A", TTL: 10, Values: []string{netip.MustParseAddr("10.0.0.1").String()}}
	if err := client.Change(ctx, w.zone, []route53.Change{{Action: route53.Create, Record: record}}); err != nil {
		t.Fatal(err)
	}
	out, err := clients.Route53().ListResourceRecordSets(ctx, &sdk.ListResourceRecordSetsInput{HostedZoneId: &w.zone})
	if err != nil || len(out.ResourceRecordSets) != 3 {
		t.Errorf("%+v, %v", out, err)
	}
}
