package join

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const goodARN = "arn:aws-cn:sts::" + theAccount + ":assumed-role/minions/" + theInstance

// TestAnswersOfSTS: whatever STS says, or who plays it, a request is granted only for one answer.
func TestAnswersOfSTS(t *testing.T) {
	good := callerXML(goodARN)
	for _, tt := range []struct {
		name   string
		answer *reply
		want   Reason
	}{
		{"good", stsAnswer(200, good), Granted},
		{"good, with space around", stsAnswer(200, "<?xml version=\"1.0\"?>\n"+good+"\n"), Granted},
		{"wrong signature", stsFailure(403, "SignatureDoesNotMatch", "x"), Altered},
		{"wrong signature, newer word", stsFailure(403, "InvalidSignatureException", "x"), Altered},
		{"expired signature", stsFailure(403, "SignatureDoesNotMatch", "Signature expired: 20200101T000000Z is now earlier than"), Late},
		{"future signature", stsFailure(403, "SignatureDoesNotMatch", "Signature not yet current: 2020"), Late},
		{"expired token", stsFailure(403, "ExpiredToken", ""), Late},
		{"expired token, newer word", stsFailure(400, "ExpiredTokenException", ""), Late},
		{"expired request", stsFailure(400, "RequestExpired", ""), Late},
		{"unknown key", stsFailure(403, "InvalidClientTokenId", ""), BadProof},
		{"malformed signature", stsFailure(400, "IncompleteSignature", ""), BadProof},
		{"denied", stsFailure(403, "AccessDenied", ""), BadProof},
		{"throttled", stsFailure(400, "Throttling", ""), Unavailable},
		{"throttled, newer word", stsFailure(400, "ThrottlingException", ""), Unavailable},
		{"too many", stsFailure(429, "TooMany", ""), Unavailable},
		{"STS off in this region", stsFailure(403, "RegionDisabledException", ""), Unavailable},
		{"internal", stsFailure(500, "InternalFailure", ""), Unavailable},
		{"unavailable, as a wrong signature", stsFailure(503, "SignatureDoesNotMatch", ""), Unavailable},
		{"moved", stsAnswer(301, ""), Redirected},
		{"see other", stsAnswer(303, good), Redirected},
		{"temporary", stsAnswer(307, ""), Redirected},
		{"permanent", stsAnswer(308, ""), Redirected},
		{"no content", stsAnswer(204, ""), Unavailable},
		{"accepted, with an answer", stsAnswer(202, good), Unavailable},
		{"a page of a proxy", stsAnswer(403, "<html>blocked</html>"), Unavailable},
		{"an empty refusal", stsAnswer(403, ""), Unavailable},
		{"JSON", stsAnswer(200, `{"Arn":"`+goodARN+`"}`), Unavailable},
		{"empty", stsAnswer(200, ""), Unavailable},
		{"another action's answer", stsAnswer(200, strings.ReplaceAll(good, "GetCallerIdentity", "GetSessionToken")), Unavailable},
		{"a second answer", stsAnswer(200, good+good), Unavailable},
		{"two results", stsAnswer(200, strings.Replace(good, "<GetCallerIdentityResult>",
			"<GetCallerIdentityResult><Arn>x</Arn><Account>1</Account></GetCallerIdentityResult><GetCallerIdentityResult>", 1)), Unavailable},
		{"two ARNs", stsAnswer(200, strings.Replace(good, "<Arn>", "<Arn>"+goodARN+"</Arn><Arn>", 1)), Unavailable},
		{"no ARN", stsAnswer(200, strings.Replace(good, goodARN, "", 1)), Unavailable},
		{"another account", stsAnswer(200, strings.Replace(good, "<Account>1", "<Account>2", 1)), Unavailable},
		{"cut off", stsAnswer(200, good[:len(good)-5]), Unavailable},
		{"endless", stsAnswer(200, good+strings.Repeat(" ", maxSTSAnswer)), Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newMaster(t).exchange(t)
			x.sts.answer = func(*http.Request) *reply { return tt.answer }
			w := x.send(t)
			x.want(t, w, tt.want)
			if tt.want == Unavailable && w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

// failing is a connection that cannot be made; net/http puts the whole URL into its error.
type failing struct{}

func (failing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("dial tcp: connection refused")
}

func TestSTSAwayKeepsTheProofSecret(t *testing.T) {
	m := newMaster(t, func(o *ServerOptions) { o.HTTP = &http.Client{Transport: failing{}} })
	x := m.exchange(t)
	x.want(t, x.send(t), Unavailable)
	if !strings.Contains(strings.Join(m.lines(), "\n"), "connection refused") {
		t.Errorf("the log does not say why: %q", m.lines())
	}
}

// TestRedirectsAreNeverFollowed, although the caller's client would.
func TestRedirectsAreNeverFollowed(t *testing.T) {
	visited := false
	m := newMaster(t, func(o *ServerOptions) {
		o.HTTP = &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { visited = true; return nil },
			Transport:     o.HTTP.Transport,
		}
	})
	m.sts.answer = func(r *http.Request) *reply {
		if r.URL.Host == "elsewhere.example" {
			visited = true
			return stsAnswer(200, callerXML(goodARN))
		}
		return &reply{status: 307, location: "https://elsewhere.example/"}
	}
	x := m.exchange(t)
	x.want(t, x.send(t), Redirected)
	if visited {
		t.Error("the redirect was followed")
	}
}

// TestObserve: who counts hears which instance it was about.
func TestObserve(t *testing.T) {
	var told []string
	m := newMaster(t, func(o *ServerOptions) {
		count := o.Observe
		o.Observe = func(reason Reason, instance string, took time.Duration) {
			count(reason, instance, took)
			told = append(told, string(reason)+" "+instance)
		}
	})
	x := m.exchange(t)
	x.want(t, x.send(t), Granted)
	x.want(t, x.send(t), Replayed)
	x.sent = func([]byte) []byte { return nil }
	x.want(t, x.send(t), Malformed)
	if want := []string{"Granted " + theInstance, "Replayed " + theInstance, "Malformed "}; !slices.Equal(told, want) {
		t.Errorf("%q", told)
	}
}

func TestIAMRoles(t *testing.T) {
	for _, tt := range []struct {
		role    string
		invalid bool
		admits  bool
	}{
		{"minions", false, true},
		{"arn:aws-cn:iam::123456789012:role/minions", false, true},
		{"arn:aws-cn:iam::123456789012:role/prod/nodes/minions", false, true},
		{"/prod/minions", false, true},
		{"arn:aws:iam::123456789012:role/minions", false, false},    // another partition
		{"arn:aws-cn:iam::210987654321:role/minions", false, false}, // another account
		{"arn:aws-cn:iam::123456789012:role/minions/other", false, false},
		{"Minions", false, false},
		{"minion*", false, false},
		{"", true, false},
		{"arn:aws-cn:iam::123456789012:role/", true, false},
		{"arn:aws-cn:iam::123456789012:instance-profile/minions", true, false},
		{"arn:aws-cn:sts::123456789012:assumed-role/minions/x", true, false},
		{"arn:aws-cn:iam", true, false},
	} {
		names, err := allowed([]string{tt.role}, "aws-cn", theAccount)
		if (err != nil) != tt.invalid || names["minions"] != tt.admits {
			t.Errorf("%s: %v, %v", tt.role, names, err)
		}
	}
	x := newMaster(t, func(o *ServerOptions) { o.IAMRoles = nil }).exchange(t)
	x.want(t, x.send(t), WrongRole)
	x = newMaster(t, func(o *ServerOptions) { o.Roles = nil }).exchange(t)
	x.want(t, x.send(t), UntaggedRole)
}

// TestOwnEndpoint: an operator's endpoint has a port and may have a path.
func TestOwnEndpoint(t *testing.T) {
	for _, endpoint := range []string{"http://127.0.0.1:4566", "http://127.0.0.1:4566/", "https://vpce.example/sts"} {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		x := newMaster(t, func(o *ServerOptions) { o.STS = u }).exchange(t)
		x.host = endpoint
		if u.Path == "" {
			x.host += "/"
		}
		x.want(t, x.send(t), Granted)
		x = newMaster(t, func(o *ServerOptions) { o.STS = u }).exchange(t)
		x.want(t, x.send(t), WrongHost)
	}
}
