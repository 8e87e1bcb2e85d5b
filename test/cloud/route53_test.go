package cloud_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/google/go-cmp/cmp"

	"rekindle/test/cloud"
)

func change(action types.ChangeAction, name string, values ...string) types.Change {
	r := &types.ResourceRecordSet{Name: aws.String(name), Type: types.RRTypeA, TTL: aws.Int64(10)}
	for _, v := range values {
		r.ResourceRecords = append(r.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
	}
	return types.Change{Action: action, ResourceRecordSet: r}
}

func ofType(kind types.RRType, c types.Change) types.Change {
	c.ResourceRecordSet.Type = kind
	return c
}

func TestRecords(t *testing.T) {
	r := newRegion(t, cloud.Options{Route53: true, ChangeDelay: time.Minute})
	c := r.route53()
	id := r.CreateZone("k.example.com", true)
	submit := func(changes ...types.Change) (*route53.ChangeResourceRecordSetsOutput, error) {
		return c.ChangeResourceRecordSets(t.Context(), &route53.ChangeResourceRecordSetsInput{
			HostedZoneId: aws.String(id), ChangeBatch: &types.ChangeBatch{Changes: changes},
		})
	}
	out := must[*route53.ChangeResourceRecordSetsOutput](t)(submit(
		change("CREATE", "api.k.example.com", "10.0.0.1", "10.0.0.2"),
		change("UPSERT", "*.k.example.com.", "10.0.0.3"),
	))
	status := func() types.ChangeStatus {
		return must[*route53.GetChangeOutput](t)(c.GetChange(t.Context(), &route53.GetChangeInput{Id: out.ChangeInfo.Id})).ChangeInfo.Status
	}
	equal(t, "change", status(), types.ChangeStatusPending)
	r.clock.advance(time.Minute)
	equal(t, "change", status(), types.ChangeStatusInsync)

	// All or nothing.
	for name, bad := range map[string]types.Change{
		"create":  change("CREATE", "api.k.example.com", "10.0.0.1"),
		"delete":  change("DELETE", "none.k.example.com", "10.0.0.1"),
		"values":  change("DELETE", "api.k.example.com", "10.0.0.1"),
		"address": change("UPSERT", "x.k.example.com", "not an address"),
		"outside": change("UPSERT", "x.other.com", "10.0.0.1"),
		"family":  ofType("AAAA", change("UPSERT", "x.k.example.com", "10.0.0.1")),
		"quotes":  ofType("TXT", change("UPSERT", "x.k.example.com", "text")),
		"alias":   ofType("CNAME", change("CREATE", "api.k.example.com", "x.k.example.com.")),
	} {
		_, err := submit(change("CREATE", "new.k.example.com", "10.0.0.9"), bad)
		if err == nil {
			t.Fatal(name)
		}
		wantCode(t, err, "InvalidChangeBatch")
	}
	must[*route53.ChangeResourceRecordSetsOutput](t)(submit(
		change("DELETE", "api.k.example.com", "10.0.0.2", "10.0.0.1"), change("CREATE", "api.k.example.com", "10.0.0.7", "10.0.0.8"),
	))

	r.Faults().Add(cloud.Fault{Action: "ListResourceRecordSets", Do: cloud.PageSize(1)})
	var got []string
	for p := route53.NewListResourceRecordSetsPaginator(c, &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String(id)}); p.HasMorePages(); {
		for _, s := range must[*route53.ListResourceRecordSetsOutput](t)(p.NextPage(t.Context())).ResourceRecordSets {
			line := aws.ToString(s.Name) + " " + string(s.Type)
			if s.Type == types.RRTypeA {
				for _, v := range s.ResourceRecords {
					line += " " + aws.ToString(v.Value)
				}
			}
			got = append(got, line)
		}
	}
	want := []string{"k.example.com. NS", "k.example.com. SOA", `\052.k.example.com. A 10.0.0.3`, "api.k.example.com. A 10.0.0.7 10.0.0.8"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, err := c.ListResourceRecordSets(t.Context(), &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String("ZNONE")})
	wantCode(t, err, "NoSuchHostedZone")
}

func TestZones(t *testing.T) {
	r := newRegion(t, cloud.Options{Route53: true})
	c := r.route53()
	a, b := r.CreateZone("b.example.com.", true), r.CreateZone("a.example.com", false)
	all := must[*route53.ListHostedZonesOutput](t)(c.ListHostedZones(t.Context(), nil))
	equal(t, "zones", len(all.HostedZones), 2)
	// What is asked for does not exist: the next zone by name comes first.
	byName := must[*route53.ListHostedZonesByNameOutput](t)(c.ListHostedZonesByName(t.Context(),
		&route53.ListHostedZonesByNameInput{DNSName: aws.String("aa.example.com"), MaxItems: aws.Int32(1)}))
	equal(t, "by name", aws.ToString(byName.HostedZones[0].Id), "/hostedzone/"+a)
	one := must[*route53.GetHostedZoneOutput](t)(c.GetHostedZone(t.Context(), &route53.GetHostedZoneInput{Id: aws.String("/hostedzone/" + b)}))
	equal(t, "name", aws.ToString(one.HostedZone.Name), "a.example.com.")
	equal(t, "private", one.HostedZone.Config.PrivateZone, false)
	_, err := c.GetChange(t.Context(), &route53.GetChangeInput{Id: aws.String("C1")})
	wantCode(t, err, "NoSuchChange")
}

func TestRoute53Missing(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	if _, err := r.route53().ListHostedZones(t.Context(), nil); err == nil {
		t.Error("Route 53 answered where there is none")
	}
}
