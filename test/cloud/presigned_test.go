package cloud_test

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"rekindle/test/cloud"
)

// proof is a presigned GetCallerIdentity and the headers that it signs.
type proof struct {
	region, service string
	at              time.Time
	headers         http.Header
}

func newProof(t *testing.T, endpoint string, k cloud.Credentials, change func(*proof)) (string, http.Header) {
	t.Helper()
	p := proof{region: "cn-north-1", service: "sts", at: time.Now(), headers: http.Header{"X-Rekindle-Nonce": {"n"}}}
	if change != nil {
		change(&p)
	}
	req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint+"/?"+getCallerIdentity, nil))
	req.Header = p.headers.Clone()
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{
		AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken,
	}, req, emptyDigest, p.service, p.region, p.at)
	check(t, err)
	return signed, p.headers
}

const getCallerIdentity = "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60"

// ask sends a proof as a verifier would, and reads AWS's XML.
func ask(t *testing.T, where string, headers http.Header) (status int, code, message, arn string) {
	t.Helper()
	req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, where, nil))
	req.Header = headers
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	check(t, err)
	defer resp.Body.Close()
	body := must[[]byte](t)(io.ReadAll(resp.Body))
	var answer struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
		Arn     string `xml:"GetCallerIdentityResult>Arn"`
	}
	check(t, xml.Unmarshal(body, &answer))
	return resp.StatusCode, answer.Code, answer.Message, answer.Arn
}

// TestProofs needs real time: clients sign with theirs. The codes and words are those of AWS.
func TestProofs(t *testing.T) {
	c := cloud.New(cloud.Options{Region: "cn-north-1"})
	endpoint := serve(t, c.Handler())
	alive := c.AssumeRole("minions", "i-0123456789abcdef0", "")
	ago := func(d time.Duration) func(*proof) { return func(p *proof) { p.at = time.Now().Add(-d) } }
	replace := func(name, value string) func(u url.Values, h http.Header) {
		return func(u url.Values, _ http.Header) { u.Set(name, value) }
	}
	drop := func(name string) func(u url.Values, h http.Header) {
		return func(u url.Values, _ http.Header) { u.Del(name) }
	}
	for name, tt := range map[string]struct {
		sign    func(*proof)
		alter   func(u url.Values, h http.Header) // after signing
		status  int
		code    string
		message string
	}{
		"as it was signed":            {status: 200},
		"a header that is not signed": {alter: func(_ url.Values, h http.Header) { h.Set("X-Other", "x") }, status: 200},
		"older than X-Amz-Expires":    {sign: ago(14 * time.Minute), status: 200}, // which STS does not look at
		"too old":                     {sign: ago(16 * time.Minute), status: 403, code: "SignatureDoesNotMatch", message: "Signature expired: "},
		"of the future": {sign: ago(-16 * time.Minute), status: 403, code: "SignatureDoesNotMatch",
			message: "Signature not yet current: "},
		"altered header": {alter: func(_ url.Values, h http.Header) { h.Set("X-Rekindle-Nonce", "m") },
			status: 403, code: "SignatureDoesNotMatch", message: "calculated"},
		"second value of a header": {alter: func(_ url.Values, h http.Header) { h.Add("X-Rekindle-Nonce", "n") },
			status: 403, code: "SignatureDoesNotMatch"},
		"missing header": {alter: func(_ url.Values, h http.Header) { h.Del("X-Rekindle-Nonce") },
			status: 403, code: "SignatureDoesNotMatch"},
		"header dropped from the list": {alter: replace("X-Amz-SignedHeaders", "host"), status: 403, code: "SignatureDoesNotMatch"},
		"host dropped from the list": {alter: replace("X-Amz-SignedHeaders", "x-rekindle-nonce"),
			status: 403, code: "SignatureDoesNotMatch", message: "must be a 'SignedHeader'"},
		"another region":  {sign: func(p *proof) { p.region = "us-east-1" }, status: 403, code: "SignatureDoesNotMatch", message: "valid region"},
		"another service": {sign: func(p *proof) { p.service = "ec2" }, status: 403, code: "SignatureDoesNotMatch", message: "correct service: 'sts'"},
		"another action":  {alter: replace("Action", "AssumeRole"), status: 403, code: "SignatureDoesNotMatch"},
		"a further parameter": {alter: func(u url.Values, _ http.Header) { u.Set("x-amz-credential", "other") },
			status: 403, code: "SignatureDoesNotMatch"},
		"a parameter twice": {alter: func(u url.Values, _ http.Header) { u.Add("X-Amz-Credential", "other") },
			status: 400, code: "IncompleteSignature", message: "Duplicate"},
		"no signature":      {alter: drop("X-Amz-Signature"), status: 400, code: "IncompleteSignature", message: "must include 'X-Amz-Signature'"},
		"no date":           {alter: drop("X-Amz-Date"), status: 400, code: "IncompleteSignature", message: "must include 'X-Amz-Date'"},
		"no algorithm":      {alter: drop("X-Amz-Algorithm"), status: 403, code: "MissingAuthenticationToken"},
		"another algorithm": {alter: replace("X-Amz-Algorithm", "AWS4-HMAC-SHA1"), status: 400, code: "IncompleteSignature", message: "Unsupported"},
		"no session token":  {alter: drop("X-Amz-Security-Token"), status: 403, code: "InvalidClientTokenId"},
		"a date of another day": {alter: func(u url.Values, _ http.Header) {
			u.Set("X-Amz-Date", "20200101T000000Z")
		}, status: 403, code: "SignatureDoesNotMatch", message: "Date in Credential scope"},
		"no date at all in it": {alter: replace("X-Amz-Date", "today"), status: 400, code: "IncompleteSignature", message: "ISO-8601"},
		"half a credential":    {alter: replace("X-Amz-Credential", "AKID/x"), status: 400, code: "IncompleteSignature", message: "5 slash"},
		"a header of its own to sign with": {alter: func(_ url.Values, h http.Header) { h.Set("Authorization", "AWS4-HMAC-SHA256 x") },
			status: 400, code: "IncompleteSignature"},
	} {
		t.Run(name, func(t *testing.T) {
			where, headers := newProof(t, endpoint, alive, tt.sign)
			if tt.alter != nil {
				u := must[*url.URL](t)(url.Parse(where))
				query := u.Query()
				tt.alter(query, headers)
				u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
				where = u.String()
			}
			status, code, message, arn := ask(t, where, headers)
			equal(t, "status", status, tt.status)
			equal(t, "code", code, tt.code)
			if !strings.Contains(message, tt.message) {
				t.Errorf("%q does not say %q", message, tt.message)
			}
			if accepted := arn == "arn:aws-cn:sts::123456789012:assumed-role/minions/i-0123456789abcdef0"; accepted != (tt.status == 200) {
				t.Errorf("accepted %t, as %q", accepted, arn)
			}
		})
	}
}

func TestProofOfWhoeverIsGone(t *testing.T) {
	r := newRegion(t, cloud.Options{CredentialTTL: time.Hour})
	where, headers := newProof(t, r.url, r.AssumeRole("minions", "s", ""), nil)
	r.clock.advance(2 * time.Hour)
	status, code, _, _ := ask(t, where, headers)
	equal(t, "status", status, 403)
	equal(t, "code", code, "ExpiredToken")
}

// TestForeignSessions: STS answers for every account, whatever its role and session are called.
func TestForeignSessions(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	i := r.launch(t, cloud.InstanceSpec{Role: "minions"})
	where, headers := newProof(t, r.url, r.AssumeRole("minions", i.ID, "999999999999"), nil)
	_, _, _, arn := ask(t, where, headers)
	equal(t, "another account", arn, "arn:aws-cn:sts::999999999999:assumed-role/minions/"+i.ID)
	where, headers = newProof(t, r.url, r.AssumeRole("minions", "somebody", ""), nil)
	_, _, _, arn = ask(t, where, headers)
	_, err := ec2.NewFromConfig(r.config(r.AssumeRole("minions", i.ID, "999999999999"))).DescribeInstances(t.Context(), nil)
	wantCode(t, err, "UnauthorizedOperation")
	equal(t, "a session by hand", arn, "arn:aws-cn:sts::123456789012:assumed-role/minions/somebody")
}

func TestSTSMisbehaves(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	elsewhere := cloud.New(cloud.Options{Region: "cn-north-1", Seed: 7})
	other := serve(t, elsewhere.Handler())
	for name, tt := range map[string]struct {
		do     cloud.Effect
		status int
		code   string
	}{
		"throttled":   {cloud.Throttle, 400, "Throttling"},
		"broken":      {cloud.ServerError, 500, "InternalFailure"},
		"unavailable": {cloud.Unavailable, 503, "ServiceUnavailable"},
		"redirected":  {cloud.Redirect(other + "/"), 302, ""},
		"another":     {cloud.Answer(200, "<html/>", "Content-Type", "text/html"), 200, ""},
	} {
		fault := r.Faults().Add(cloud.Fault{Service: "sts", Do: tt.do})
		where, headers := newProof(t, r.url, r.AdminCredentials(), nil)
		if tt.status == 302 {
			req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, where, nil))
			req.Header = headers
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			check(t, err)
			resp.Body.Close()
			equal(t, name, resp.StatusCode, 302)
			equal(t, "location", resp.Header.Get("Location"), other+"/")
		} else {
			status, code, _, arn := ask(t, where, headers)
			equal(t, name, status, tt.status)
			equal(t, name, code, tt.code)
			equal(t, name, arn, "")
		}
		equal(t, name+": hits", fault.Hits(), 1)
		fault.Remove()
	}
	if n := len(elsewhere.Requests()); n != 0 {
		t.Errorf("%d requests went where the redirect pointed to", n)
	}
	all := r.Requests()
	equal(t, "recorded", len(all), 5)
}
