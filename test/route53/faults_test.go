package route53_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/discovery/route53"
	"rekindle/test/cloud"
)

const prior = `<?xml version="1.0"?><ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error><Type>Sender</Type>` +
	`<Code>PriorRequestNotComplete</Code><Message>The request was rejected because Route 53 was still processing a prior request.</Message>` +
	`</Error><RequestId>x</RequestId></ErrorResponse>`

// Whatever goes wrong, it shows while it lasts, nothing asks often, and the records are right soon after.
func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		fault cloud.Fault
		state route53.State
		hint  string
	}{
		"403 on everything":       {cloud.Fault{Do: cloud.Deny}, route53.Denied, "allow route53:GetHostedZone"},
		"403 on listing":          {cloud.Fault{Action: "ListResourceRecordSets", Do: cloud.Deny}, route53.Denied, "allow route53:ListResourceRecordSets"},
		"403 on changes":          {cloud.Fault{Action: "ChangeResourceRecordSets", Do: cloud.Deny}, route53.Denied, "allow route53:ChangeResourceRecordSets"},
		"throttling":              {cloud.Fault{Do: cloud.Throttle}, route53.Throttled, "request rate"},
		"throttled changes":       {cloud.Fault{Action: "ChangeResourceRecordSets", Do: cloud.Throttle}, route53.Throttled, "request rate"},
		"PriorRequestNotComplete": {cloud.Fault{Action: "ChangeResourceRecordSets", Do: cloud.Answer(400, prior, "Content-Type", "text/xml")}, route53.Throttled, ""},
		"500":                     {cloud.Fault{Do: cloud.ServerError}, route53.Failing, ""},
		"503 on changes":          {cloud.Fault{Action: "ChangeResourceRecordSets", Do: cloud.Unavailable}, route53.Failing, ""},
		"resets":                  {cloud.Fault{Do: cloud.Reset}, route53.Silent, "route table"},
		"a black hole":            {cloud.Fault{Do: cloud.BlackHole}, route53.Silent, "route table"},
		"a black hole for writes": {cloud.Fault{Action: "ChangeResourceRecordSets", Do: cloud.BlackHole}, route53.Silent, "route table"},
		"a portal's page":         {cloud.Fault{Do: cloud.Answer(200, "<html>log in</html>")}, route53.Failing, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, clusterName, true)
				k := w.keeper(route53.Options{ZoneID: w.zone})
				tt.fault.Service = "route53"
				fault := w.Faults().Add(tt.fault)
				update(t, k, 0, masters(0, 1, 2))
				time.Sleep(time.Hour)
				s := k.Status()
				if s.State != tt.state || s.Error == "" || !strings.Contains(s.Hint, tt.hint) {
					t.Errorf("%+v", s.Availability)
				}
				if n := fault.Hits(); n < 12 || n > 40 {
					t.Errorf("%d requests failed within an hour", n)
				}
				w.wantRecord(apiName())
				fault.Remove()
				time.Sleep(6 * time.Minute)
				if s := k.Status(); s.State != route53.Ready || s.Error != "" {
					t.Errorf("%+v", s.Availability)
				}
				w.wantRecord(apiName(), address(0), address(1), address(2))
				w.wantRecord("etcd-cn-north-1a.internal."+clusterName, address(0))
			})
		})
	}
}

func TestNoRoute53AtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, clusterName, true)
		w.Cloud = cloud.New(cloud.Options{Region: "cn-north-1"})
		k := w.keeper(route53.Options{})
		a, err := k.Probe(t.Context())
		if err == nil || a.State != route53.Silent || !a.NextTry.After(time.Now()) {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// The batch was applied, and the answer never came: after a reset, and after a time-out.
func TestLostAnswers(t *testing.T) {
	for name, how := range map[string]loss{"reset": reset, "silence": silence} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, clusterName, true)
				k := w.keeper(route53.Options{ZoneID: w.zone})
				lost := 0
				w.setLoss(func() loss { lost++; return how })
				update(t, k, 0, masters(0))
				time.Sleep(time.Minute)
				w.wantRecord(apiName(), address(0))
				update(t, k, 0, masters(0, 1, 2))
				time.Sleep(time.Minute)
				w.wantRecord(apiName(), address(0), address(1), address(2))
				if s := k.Status(); lost != 2 || s.State != route53.Ready {
					t.Errorf("%d batches, each of which was applied; %+v", lost, s.Availability)
				}
			})
		})
	}
}

// A batch fails as a whole: nothing of it is there, and the rest is done without it.
func TestForeignRecordsAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "example.com", true)
		domain := "internal." + clusterName
		w.put(
			cloud.RecordSet{Name: "etcd-cn-north-1a." + domain, Type: "A", TTL: 60, Values: []string{"10.9.9.9"}},
			cloud.RecordSet{Name: "etcd-cn-north-1b." + domain, Type: "CNAME", TTL: 60, Values: []string{"b.example.org."}},
			cloud.RecordSet{Name: "_rekindle-a.etcd-cn-north-1c." + domain, Type: "TXT", TTL: 60, Values: []string{`"rekindle cluster=other v=1 serial=3"`}},
			cloud.RecordSet{Name: "etcd-cn-north-1c." + domain, Type: "A", TTL: 60, Values: []string{"10.9.9.8"}},
			cloud.RecordSet{Name: apiName(), Type: "AAAA", TTL: 60, Values: []string{"fd00::1"}},
			cloud.RecordSet{Name: apiName(), Type: "TXT", TTL: 60, Values: []string{`"a note"`}},
			cloud.RecordSet{Name: "www." + domain, Type: "A", TTL: 60, Values: []string{"10.9.9.7"}},
		)
		before := w.Records(w.zone)
		k := w.keeper(route53.Options{})
		for _, now := range [][]int{{0, 1, 2}, {1, 2}, {1}, {0, 1, 2}} {
			update(t, k, 1, masters(now...))
			time.Sleep(time.Minute)
		}
		w.wantRecord(apiName(), address(0), address(1), address(2))
		sameRecords(t, before, w.Records(w.zone), apiName())
		s := k.Status()
		if len(s.Foreign) != 3 || !strings.Contains(s.Foreign[0], "no marker") || !strings.Contains(s.Foreign[1], "CNAME") ||
			!strings.Contains(s.Foreign[2], "cluster other") {
			t.Errorf("%q", s.Foreign)
		}
	})
}

// A zone that holds many records, in small pages.
func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "example.com", true)
		for _, name := range []string{"a.example.com", "internal.k.example.com", "k.example.com", "internal-x.k.example.com", "internal.k2.example.com", "z.example.com"} {
			w.put(cloud.RecordSet{Name: name, Type: "A", TTL: 60, Values: []string{"10.9.9.9"}})
		}
		before := w.Records(w.zone)
		k := w.keeper(route53.Options{ZoneName: "example.com"})
		w.Faults().Add(cloud.Fault{Action: "ListResourceRecordSets", Do: cloud.PageSize(2)})
		for _, now := range [][]int{{0, 1, 2}, {0, 1}, {0, 1, 2}} {
			update(t, k, 0, masters(now...))
			time.Sleep(2 * time.Minute)
		}
		w.wantRecord(apiName(), address(0), address(1), address(2))
		w.wantRecord("etcd-cn-north-1c.internal."+clusterName, address(2))
		sameRecords(t, before, w.Records(w.zone), "")
		update(t, k, 0, masters(0, 1))
		time.Sleep(2 * time.Minute)
		w.wantRecord("etcd-cn-north-1c.internal." + clusterName)
	})
}
