package join

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const goodProof = theSTS + "?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256" +
	"&X-Amz-Credential=ASIAEXAMPLE%2F20260101%2Fcn-north-1%2Fsts%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=300" +
	"&X-Amz-Security-Token=to%2Bken%3D&X-Amz-SignedHeaders=host%3Bx-rekindle-body-sha256%3Bx-rekindle-cluster%3Bx-rekindle-nonce" +
	"&X-Amz-Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var proofTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func testParser(t testing.TB) proofParser {
	sts, err := url.Parse(theSTS)
	if err != nil {
		t.Fatal(err)
	}
	return newProofParser(sts, theRegion)
}

func TestProofTimes(t *testing.T) {
	p := testParser(t)
	for _, tt := range []struct {
		after   time.Duration
		expires string
		want    Reason
	}{
		{0, "300", Granted},
		{5 * time.Minute, "300", Granted},
		{5*time.Minute + time.Second, "300", Late},
		{5*time.Minute + time.Second, "900", Late},
		{-5 * time.Minute, "300", Granted},
		{-5*time.Minute - time.Second, "300", Late},
		{time.Second, "1", Granted},
		{2 * time.Second, "1", Late},
		{0, "900", Granted},
		{0, "901", Late},
		{0, "999999", Late},
		{0, "1000000", BadProof},
		{0, "0", BadProof},
		{0, "-1", BadProof},
		{0, "+300", BadProof},
		{0, "0300", BadProof},
		{0, "3e2", BadProof},
		{0, "", BadProof},
	} {
		_, err := p.parse([]string{setParameter("X-Amz-Expires", tt.expires)(goodProof)}, proofTime.Add(tt.after))
		wantRefusal(t, tt.after.String()+" of "+tt.expires, err, tt.want)
	}
}

// TestProofParameters: each must be there once, as it must be.
func TestProofParameters(t *testing.T) {
	p := testParser(t)
	u, err := url.Parse(goodProof)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range u.Query() {
		without := u.Query()
		without.Del(name)
		_, err := p.parse([]string{theSTS + "?" + without.Encode()}, proofTime)
		wantRefusal(t, "without "+name, err, BadProof)
		_, err = p.parse([]string{goodProof + "&" + name + "=" + url.QueryEscape(values[0])}, proofTime)
		wantRefusal(t, "twice "+name, err, BadProof)
		for _, value := range []string{"", " ", values[0] + "\n", "\n" + values[0], values[0] + " ", values[0] + "\x00", "ü"} {
			_, err = p.parse([]string{setParameter(name, value)(goodProof)}, proofTime)
			wantRefusal(t, name+" "+value, err, BadProof)
		}
	}
	for name, values := range map[string][]string{
		"X-Amz-Date": {"20260102T000000Z", "20261301T000000Z", "2026-01-01T00:00:00Z", "20260101T000000"},
		"X-Amz-Credential": {
			"ASIAEXAMPLE/20260102/cn-north-1/sts/aws4_request", "ASIAEXAMPLE/20260101/cnxnorth-1/sts/aws4_request",
			"ASIAEXAMPLE/20260101/cn-north-1/sts", "ASIAEXAMPLE/20260101/cn-north-1/sts/aws4_request/x",
			"AS/IA/20260101/cn-north-1/sts/aws4_request",
		},
		"X-Amz-SignedHeaders": {
			"host", "host;x-rekindle-body-sha256", "x-rekindle-body-sha256;x-rekindle-cluster;x-rekindle-nonce",
			"Host;X-Rekindle-Body-Sha256;X-Rekindle-Cluster;X-Rekindle-Nonce",
			"host;x-rekindle-body-sha256;x-rekindle-cluster;x-rekindle-nonce;x-rekindle-nonce",
		},
		"X-Amz-Signature": {strings.Repeat("A", 64), strings.Repeat("0", 63), strings.Repeat("0", 65)},
		"X-Amz-Algorithm": {"AWS4-ECDSA-P256-SHA256", "none"},
		"Version":         {"2011-06-16"},
		"Action":          {"getcalleridentity"},
	} {
		for _, value := range values {
			_, err := p.parse([]string{setParameter(name, value)(goodProof)}, proofTime)
			wantRefusal(t, name+" "+value, err, BadProof)
		}
	}
}

// FuzzProof: what is accepted is a GetCallerIdentity at our own STS, whatever came in, and survives being written again.
func FuzzProof(f *testing.F) {
	f.Add(goodProof)
	for _, host := range lookalikes {
		f.Add(strings.Replace(goodProof, theSTS, host, 1))
	}
	f.Add(goodProof + "&Action=AssumeRole")
	f.Add(goodProof + "#")
	p := testParser(f)
	f.Fuzz(func(t *testing.T, text string) {
		accepted, err := p.parse([]string{text}, proofTime)
		if err != nil {
			if reason, why := reasonOf(err); reason == Unavailable || answers[reason].status != http.StatusForbidden || why == nil {
				t.Fatalf("%s: %v", reason, why)
			}
			return
		}
		if !strings.HasPrefix(text, theSTS+"?") {
			t.Fatalf("%q was accepted", text)
		}
		again, err := url.ParseQuery(accepted.query.Encode())
		if err != nil || len(again) != len(p.parameters) || again.Get("Action") != "GetCallerIdentity" || len(again["Action"]) != 1 ||
			again.Get("X-Amz-SignedHeaders") != signedHeaders {
			t.Fatalf("%q became %v, %v", text, again, err)
		}
	})
}

// FuzzBody: what is accepted is within its limits, and another reader would understand it in the same way.
func FuzzBody(f *testing.F) {
	x := newMaster(f).exchange(f)
	data, err := json.Marshal(x.body)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, text := range []string{"", "null", "{}", "[]", `{"version":1}`, `{"version":1,"requests":[{}]}`, `{"version":1,"Version":1}`,
		`{"version":1,"requests":[{"name":"kube-proxy","csr":"AAAA"}]}`, `{"version":1,"version":2}`, string(data) + "x"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := decode(data)
		if err != nil {
			if reason, _ := reasonOf(err); reason != Malformed {
				t.Fatalf("%s", reason)
			}
			return
		}
		if b.Version != Protocol || len(b.Requests) == 0 || len(b.Requests) > maxRequests || len(b.Instance) > maxInstance {
			t.Fatalf("%+v", b)
		}
		var other Body
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&other); err != nil || other.Instance != b.Instance || other.Cluster != b.Cluster || other.Nonce != b.Nonce {
			t.Fatalf("%+v, and another reader %+v, %v", b, other, err)
		}
		if known(b.Requests) == nil {
			_, err := parseCSRs(b.Requests)
			if reason, _ := reasonOf(err); reason != Granted && reason != BadCSR {
				t.Fatalf("%s", reason)
			}
		}
	})
}
