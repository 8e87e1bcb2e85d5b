package cloud_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/google/go-cmp/cmp"

	"rekindle/test/cloud"
)

// callers ask each service something simple.
func callers(r *region) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"ec2": func(ctx context.Context) error { _, err := r.ec2().DescribeTags(ctx, nil); return err },
		"autoscaling": func(ctx context.Context) error {
			_, err := r.autoscaling().DescribeAutoScalingGroups(ctx, nil)
			return err
		},
		"sts": func(ctx context.Context) error {
			_, err := r.sts(r.AdminCredentials()).GetCallerIdentity(ctx, nil)
			return err
		},
		"ssm": func(ctx context.Context) error {
			_, err := r.ssm().GetParameters(ctx, &ssm.GetParametersInput{Names: []string{"/a"}})
			return err
		},
		"route53": func(ctx context.Context) error { _, err := r.route53().ListHostedZones(ctx, nil); return err },
	}
}

func TestErrorsOfEachService(t *testing.T) {
	r := newRegion(t, cloud.Options{Route53: true})
	type answer struct {
		status int
		code   string
	}
	for service, want := range map[string]struct{ throttled, denied, broken answer }{
		"ec2":         {answer{503, "RequestLimitExceeded"}, answer{403, "UnauthorizedOperation"}, answer{500, "InternalError"}},
		"autoscaling": {answer{400, "Throttling"}, answer{403, "AccessDenied"}, answer{500, "InternalFailure"}},
		"sts":         {answer{400, "Throttling"}, answer{403, "AccessDenied"}, answer{500, "InternalFailure"}},
		"ssm":         {answer{400, "ThrottlingException"}, answer{400, "AccessDeniedException"}, answer{500, "InternalServerError"}},
		"route53":     {answer{400, "Throttling"}, answer{403, "AccessDenied"}, answer{500, "InternalFailure"}},
	} {
		for effect, a := range map[cloud.Effect]answer{cloud.Throttle: want.throttled, cloud.Deny: want.denied, cloud.ServerError: want.broken} {
			f := r.Faults().Add(cloud.Fault{Service: service, Count: 1, Do: effect})
			err := callers(r)[service](t.Context())
			wantCode(t, err, a.code)
			wantStatus(t, err, a.status)
			equal(t, "hits", f.Hits(), 1)
			check(t, callers(r)[service](t.Context()))
		}
	}
}

func TestRetriesGetThrough(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	f := r.Faults().Add(cloud.Fault{Service: "ec2", Action: "DescribeTags", Count: 1, Do: cloud.Throttle})
	config := r.admin()
	config.Retryer = nil // the SDK's own
	_, err := ec2.NewFromConfig(config).DescribeTags(t.Context(), nil)
	check(t, err)
	equal(t, "hits", f.Hits(), 1)
	log := r.Requests()
	equal(t, "requests", len(log), 2)
	equal(t, "first", log[0].Code+" "+log[0].Faults[0], "RequestLimitExceeded throttle")
	equal(t, "second", log[1].Status, 200)
}

func TestConnections(t *testing.T) {
	r := newRegion(t, cloud.Options{Route53: true})
	for service, ask := range callers(r) {
		f := r.Faults().Add(cloud.Fault{Service: service, Do: cloud.Reset})
		if err := ask(t.Context()); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: got %v, want a reset", service, err)
		}
		f.Remove()
		f = r.Faults().Add(cloud.Fault{Service: service, Do: cloud.BlackHole})
		if err := ask(within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want silence", service, err)
		}
		f.Remove()
	}
	r.Faults().Add(cloud.Fault{Service: "ec2", Do: cloud.Latency(time.Hour)})
	if err := callers(r)["ec2"](within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want latency", err)
	}
}

func TestFaultsChoose(t *testing.T) {
	r := newRegion(t, cloud.Options{Seed: 7})
	one, two := r.launch(t, cloud.InstanceSpec{Role: "r"}), r.launch(t, cloud.InstanceSpec{Role: "r"})
	ask := func(i *cloud.Instance) int {
		_, err := r.sts(r.Credentials(i.ID)).GetCallerIdentity(t.Context(), nil)
		if err != nil {
			return 1
		}
		return 0
	}
	r.Faults().Add(cloud.Fault{Instance: one.ID, Skip: 1, Count: 2, Do: cloud.Unavailable})
	if diff := cmp.Diff([]int{0, 1, 0, 1, 0}, []int{ask(one), ask(one), ask(two), ask(one), ask(one)}); diff != "" {
		t.Error("skip, count and instance:", diff)
	}

	// What stands behind a fault that ends a request is not used up by it.
	r.Faults().Clear()
	r.Faults().Add(cloud.Fault{Count: 1, Do: cloud.Deny})
	behind := r.Faults().Add(cloud.Fault{Count: 1, Do: cloud.Throttle})
	ask(two)
	equal(t, "hits behind", behind.Hits(), 0)

	r.Faults().Clear()
	start := r.clock.now()
	r.Faults().Add(cloud.Fault{From: start.Add(time.Minute), Until: start.Add(2 * time.Minute), Do: cloud.Deny})
	var got []int
	for range 3 {
		got = append(got, ask(two))
		r.clock.advance(time.Minute)
	}
	if diff := cmp.Diff([]int{0, 1, 0}, got); diff != "" {
		t.Error(diff)
	}

	r.Faults().Clear()
	f := r.Faults().Add(cloud.Fault{Probability: 0.3, Do: cloud.Deny})
	for range 100 {
		ask(two)
	}
	if f.Hits() < 15 || f.Hits() > 45 {
		t.Errorf("%d of 100 requests were hit with probability 0.3", f.Hits())
	}
}

func TestEmptyPages(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	i := r.launch(t, cloud.InstanceSpec{Tags: map[string]string{"a": "1"}})
	check(t, r.CreateGroup(cloud.GroupSpec{Name: "g", Desired: 1}))
	r.Faults().Add(cloud.Fault{Count: 2, Do: cloud.EmptyPage})
	first := must[*ec2.DescribeTagsOutput](t)(r.ec2().DescribeTags(t.Context(), nil))
	equal(t, "empty", len(first.Tags), 0)
	if aws.ToString(first.NextToken) == "" {
		t.Error("an empty page without a token is the end")
	}
	if diff := cmp.Diff(map[string]string{"a": "1"}, described(t, r.ec2(), i.ID)); diff != "" {
		t.Error(diff)
	}
	r.Faults().Add(cloud.Fault{Service: "autoscaling", Count: 1, Do: cloud.EmptyPage})
	n := 0
	for p := autoscaling.NewDescribeAutoScalingGroupsPaginator(r.autoscaling(), &autoscaling.DescribeAutoScalingGroupsInput{}); p.HasMorePages(); {
		n += len(must[*autoscaling.DescribeAutoScalingGroupsOutput](t)(p.NextPage(t.Context())).AutoScalingGroups)
	}
	equal(t, "groups", n, 1)
}

func TestLateTags(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	i := r.launch(t, cloud.InstanceSpec{Tags: map[string]string{"role": "master"}, Metadata: cloud.MetadataOptions{Tags: true}})
	for n, f := range []cloud.Fault{{Action: "DescribeTags"}, {Action: "DescribeInstances"}, {Service: "imds", Path: "/latest/meta-data/tags/*"}} {
		f.Do = cloud.LateTags(time.Duration(n+1) * time.Minute)
		r.Faults().Add(f)
	}
	seen := func() [3]bool {
		_, err := r.imds(t, i.ID).GetMetadata(t.Context(), &imds.GetMetadataInput{Path: "tags/instance/role"})
		byTag := found(t, r.ec2(), &ec2.DescribeInstancesInput{Filters: []types.Filter{where("tag:role", "master")}})
		return [3]bool{described(t, r.ec2(), i.ID)["role"] == "master", len(byTag) == 1, err == nil}
	}
	equal(t, "at once", seen(), [3]bool{})
	r.clock.advance(time.Minute)
	equal(t, "later", seen(), [3]bool{true, false, false})
	r.clock.advance(time.Minute)
	equal(t, "later", seen(), [3]bool{true, true, false})
	r.clock.advance(time.Minute)
	equal(t, "later", seen(), [3]bool{true, true, true})
}

func TestLateInstances(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	i := r.launch(t, cloud.InstanceSpec{})
	r.Faults().Add(cloud.Fault{Service: "ec2", Do: cloud.LateInstances(time.Minute)})
	ask := func() error {
		_, err := r.ec2().DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{i.ID}})
		return err
	}
	wantCode(t, ask(), "InvalidInstanceID.NotFound")
	equal(t, "listed", len(found(t, r.ec2(), &ec2.DescribeInstancesInput{})), 0)
	r.clock.advance(time.Minute)
	check(t, ask())
	equal(t, "listed", len(found(t, r.ec2(), &ec2.DescribeInstancesInput{})), 1)
}

func TestMetadataFaults(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	i := r.launch(t, cloud.InstanceSpec{})
	c := r.imds(t, i.ID)
	ask := func(ctx context.Context) error {
		_, err := c.GetMetadata(ctx, &imds.GetMetadataInput{Path: "mac"})
		return err
	}
	// Late start: refused until then.
	r.Faults().Add(cloud.Fault{Service: "imds", Until: r.clock.now().Add(time.Minute), Do: cloud.Reset})
	if err := ask(t.Context()); err == nil {
		t.Error("IMDS answered before it started")
	}
	r.clock.advance(time.Minute)
	check(t, ask(t.Context()))

	for effect, status := range map[cloud.Effect]int{cloud.Throttle: 503, cloud.Deny: 403, cloud.ServerError: 500} {
		f := r.Faults().Add(cloud.Fault{Service: "imds", Action: "Get", Path: "/latest/meta-data/mac", Do: effect})
		wantStatus(t, ask(t.Context()), status)
		f.Remove()
	}
	f := r.Faults().Add(cloud.Fault{Service: "imds", Action: "Get", Do: cloud.BlackHole})
	if err := ask(within(t, 50*time.Millisecond)); err == nil {
		t.Error("a black hole answered")
	}
	f.Remove()

	// A token that dies early: the SDK meets 401 and fetches another.
	r.Faults().Clear()
	r.ResetRequests()
	r.Faults().Add(cloud.Fault{Action: "GetToken", Count: 1, Do: cloud.ExpireTokens(time.Second)})
	c = r.imds(t, i.ID)
	check(t, ask(t.Context()))
	r.clock.advance(2 * time.Second)
	if err := ask(t.Context()); err == nil {
		t.Error("an expired token was good")
	}
	check(t, ask(t.Context()))
	equal(t, "tokens", r.Counts()[cloud.Counter{Instance: i.ID, Service: "imds", Action: "GetToken"}], 2)
}

func TestServe(t *testing.T) {
	c := cloud.New(cloud.Options{Region: "cn-north-1"})
	i := must[*cloud.Instance](t)(c.Launch(cloud.InstanceSpec{Metadata: cloud.MetadataOptions{TokensOptional: true}}))
	s := must[*cloud.Server](t)(c.ServeIMDS(t.Context(), i.ID, "127.0.20.5:0"))
	status, _, body := request(t, "GET", s.URL+"/latest/meta-data/instance-id")
	equal(t, "status", status, http.StatusOK)
	equal(t, "body", body, i.ID)
	c.Terminate(i.ID)
	if resp, err := http.Get(s.URL + "/latest/meta-data/instance-id"); err == nil {
		t.Errorf("a dead instance's IMDS answered %s: %v", resp.Status, resp.Body.Close())
	}
	check(t, s.Close())
	check(t, s.Close())
	if _, err := net.Dial("tcp", s.Addr.String()); err == nil {
		t.Error("listens after Close")
	}

	ctx, cancel := context.WithCancel(t.Context())
	api := must[*cloud.Server](t)(c.ServeAPI(ctx, "127.0.0.1:0"))
	cancel()
	check(t, api.Close())
}
