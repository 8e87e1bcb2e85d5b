package cloud_test

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/google/go-cmp/cmp"

	"rekindle/test/cloud"
)

// metadata reads one path with the SDK.
func metadata(t *testing.T, c *imds.Client, path string) string {
	t.Helper()
	out, err := c.GetMetadata(within(t, 10*time.Second), &imds.GetMetadataInput{Path: path})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	b := must[[]byte](t)(io.ReadAll(out.Content))
	check(t, out.Content.Close())
	return string(b)
}

// request sends one raw request and returns status, headers and body.
func request(t *testing.T, method, url string, header ...string) (int, http.Header, string) {
	t.Helper()
	req := must[*http.Request](t)(http.NewRequestWithContext(within(t, 10*time.Second), method, url, nil))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b := must[[]byte](t)(io.ReadAll(resp.Body))
	check(t, resp.Body.Close())
	return resp.StatusCode, resp.Header, string(b)
}

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

func TestMetadata(t *testing.T) {
	r := newRegion(t, cloud.Options{
		Region: "cn-northwest-1",
		Subnets: []cloud.Subnet{{
			ID: "subnet-1", Zone: "cn-northwest-1b", Public: true,
			CIDR: netip.MustParsePrefix("10.20.16.0/20"), CIDR6: netip.MustParsePrefix("2001:db8:0:1::/64"),
		}},
	})
	i := r.launch(t, cloud.InstanceSpec{
		Role: "masters", UserData: []byte("role: master\n"), PublicIP: netip.MustParseAddr("203.0.113.9"),
		Tags:     map[string]string{"rekindle:role": "master", "Name": "m1"},
		Metadata: cloud.MetadataOptions{Tags: true},
	})
	c := r.imds(t, i.ID)
	macs := "network/interfaces/macs/" + i.MAC + "/"
	for path, want := range map[string]string{
		"instance-id":                    i.ID,
		"instance-type":                  "m5.large",
		"instance-life-cycle":            "on-demand",
		"local-ipv4":                     "10.20.16.4",
		"local-hostname":                 "ip-10-20-16-4.cn-northwest-1.compute.internal",
		"public-ipv4":                    "203.0.113.9",
		"public-hostname":                "ec2-203-0-113-9.cn-northwest-1.compute.amazonaws.com.cn",
		"mac":                            "02:ec:0a:14:10:04",
		"placement/availability-zone":    "cn-northwest-1b",
		"placement/availability-zone-id": "cnnw1-az2",
		"placement/region":               "cn-northwest-1",
		"services/domain":                "amazonaws.com.cn",
		"services/partition":             "aws-cn",
		"tags/instance":                  "Name\nrekindle:role",
		"tags/instance/rekindle:role":    "master",
		"network/interfaces/macs/":       i.MAC + "/",
		macs + "device-number":           "0",
		macs + "local-ipv4s":             "10.20.16.4",
		macs + "ipv6s":                   "2001:db8:0:1::a14:1004",
		macs + "subnet-id":               "subnet-1",
		macs + "subnet-ipv4-cidr-block":  "10.20.16.0/20",
		macs + "subnet-ipv6-cidr-blocks": "2001:db8:0:1::/64",
		macs + "vpc-ipv4-cidr-blocks":    "10.20.0.0/16",
		macs + "vpc-ipv6-cidr-blocks":    "2001:db8::/56",
		macs + "ipv4-associations/":      "203.0.113.9",
		"iam/security-credentials/":      "masters",
		"block-device-mapping":           "ami\nroot",
		"iam/":                           "info\nsecurity-credentials/",
	} {
		equal(t, path, metadata(t, c, path), want)
	}
	for _, path := range []string{"spot/instance-action", "autoscaling/target-lifecycle-state", "events/recommendations/rebalance", "instance-id/x"} {
		_, err := c.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: path})
		wantStatus(t, err, 404)
	}

	document := must[*imds.GetInstanceIdentityDocumentOutput](t)(c.GetInstanceIdentityDocument(t.Context(), nil))
	equal(t, "document", document.InstanceID+document.Region+document.PrivateIP, i.ID+"cn-northwest-1"+"10.20.16.4")
	region := must[*imds.GetRegionOutput](t)(c.GetRegion(t.Context(), nil))
	equal(t, "region", region.Region, "cn-northwest-1")
	info := must[*imds.GetIAMInfoOutput](t)(c.GetIAMInfo(t.Context(), nil))
	equal(t, "profile", info.InstanceProfileArn, "arn:aws-cn:iam::123456789012:instance-profile/masters")
	data := must[*imds.GetUserDataOutput](t)(c.GetUserData(t.Context(), nil))
	equal(t, "user-data", string(must[[]byte](t)(io.ReadAll(data.Content))), "role: master\n")
}

func TestMetadataAbsent(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	i := r.launch(t, cloud.InstanceSpec{Tags: map[string]string{"kubernetes.io/cluster/a": "owned"}})
	c := r.imds(t, i.ID)
	_, err := c.GetUserData(t.Context(), nil)
	wantStatus(t, err, 404)
	for _, path := range []string{"public-ipv4", "public-hostname", "tags/instance", "iam/info", "ipv6"} {
		_, err := c.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: path})
		wantStatus(t, err, 404)
	}
}

func TestMetadataTokens(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	url := serve(t, r.IMDS(r.launch(t, cloud.InstanceSpec{}).ID))
	token := func(ttl string, more ...string) (int, string) {
		status, header, body := request(t, "PUT", url+"/latest/api/token", append(more, ttlHeader, ttl)...)
		if status == 200 {
			equal(t, "ttl header", header.Get(ttlHeader), ttl)
		}
		return status, body
	}
	for ttl, want := range map[string]int{"": 400, "0": 400, "21601": 400, "x": 400, "1": 200, "21600": 200} {
		status, _ := token(ttl)
		equal(t, "token with ttl "+ttl, status, want)
	}
	status, _ := token("60", "X-Forwarded-For", "10.0.0.1")
	equal(t, "forwarded", status, 403)

	get := func(path, token string) int {
		status, _, _ := request(t, "GET", url+path, tokenHeader, token)
		return status
	}
	_, good := token("60")
	equal(t, "no token", get("/latest/meta-data/", ""), 401)
	equal(t, "unknown token", get("/latest/meta-data/", "AQAE"), 401)
	equal(t, "token", get("/latest/meta-data/", good), 200)
	equal(t, "dated version", get("/2021-07-15/meta-data/mac", good), 200)
	equal(t, "unknown version", get("/newest/meta-data/mac", good), 404)
	_, _, versions := request(t, "GET", url+"/", tokenHeader, good)
	equal(t, "latest is listed", strings.HasSuffix(versions, "\nlatest"), true)
	_, _, top := request(t, "GET", url+"/latest", tokenHeader, good)
	equal(t, "top", top, "dynamic/\nmeta-data/")
	r.clock.advance(59 * time.Second)
	equal(t, "before the end", get("/latest/meta-data/", good), 200)
	r.clock.advance(time.Second)
	equal(t, "at the end", get("/latest/meta-data/", good), 401)
}

func TestMetadataOptions(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	v1 := r.launch(t, cloud.InstanceSpec{Metadata: cloud.MetadataOptions{TokensOptional: true}})
	status, _, body := request(t, "GET", serve(t, r.IMDS(v1.ID))+"/latest/meta-data/instance-id")
	equal(t, "IMDSv1", status, 200)
	equal(t, "IMDSv1", body, v1.ID)
	status, _, _ = request(t, "GET", serve(t, r.IMDS(v1.ID))+"/latest/meta-data/mac", tokenHeader, "bad")
	equal(t, "a bad token is refused even so", status, 401)

	off := r.launch(t, cloud.InstanceSpec{Metadata: cloud.MetadataOptions{Disabled: true}})
	status, _, _ = request(t, "PUT", serve(t, r.IMDS(off.ID))+"/latest/api/token", ttlHeader, "60")
	equal(t, "disabled", status, 403)
}

func TestMetadataHopLimit(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	near := r.launch(t, cloud.InstanceSpec{})
	far := r.launch(t, cloud.InstanceSpec{Metadata: cloud.MetadataOptions{HopLimit: 2}})
	ask := func(i *cloud.Instance, d time.Duration) error {
		url := serve(t, r.IMDSBehind(i.ID, 2)) + "/latest/api/token"
		req := must[*http.Request](t)(http.NewRequestWithContext(within(t, d), "PUT", url, nil))
		req.Header.Set(ttlHeader, "60")
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	check(t, ask(far, 10*time.Second))
	if err := ask(near, 50*time.Millisecond); err == nil {
		t.Error("a token came through a bridge at hop limit 1")
	}
}

func TestMetadataEvents(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	i := r.launch(t, cloud.InstanceSpec{Spot: true})
	c := r.imds(t, i.ID)
	r.InterruptSpot(i.ID, r.clock.now().Add(2*time.Minute))
	r.RecommendRebalance(i.ID, r.clock.now())
	got := []string{
		metadata(t, c, "instance-life-cycle"), metadata(t, c, "spot/instance-action"),
		metadata(t, c, "spot/termination-time"), metadata(t, c, "events/recommendations/rebalance"),
	}
	want := []string{
		"spot", `{"action":"terminate","time":"2026-11-20T12:02:00Z"}`, "2026-11-20T12:02:00Z",
		`{"noticeTime":"2026-11-20T12:00:00Z"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	r.RemoveMetadata(i.ID, "meta-data/spot/instance-action")
	_, err := c.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: "spot/instance-action"})
	wantStatus(t, err, 404)
}

func TestMetadataTagKeys(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	for key, ok := range map[string]bool{"rekindle:role": true, "k8s.io/role": false, "a b": false, "_index": false, "aws:x": false} {
		_, err := r.Launch(cloud.InstanceSpec{Tags: map[string]string{key: "1"}, Metadata: cloud.MetadataOptions{Tags: true}})
		equal(t, "launch with tag "+key, err == nil, ok)
	}
	plain := r.launch(t, cloud.InstanceSpec{Tags: map[string]string{"k8s.io/role": "1"}})
	check(t, r.SetTags(plain.ID, map[string]string{"a/b": "1"}))
}
