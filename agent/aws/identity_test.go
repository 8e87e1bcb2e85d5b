package aws

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestProveIdentity(t *testing.T) {
	laptop(t)
	t.Setenv("AWS_SESSION_TOKEN", "session")
	asked := &wire{do: denied}
	c := newClients(t, Options{Region: "cn-north-1", DNSSuffix: "amazonaws.com.cn", Transport: asked})
	headers := map[string]string{"X-Rekindle-Nonce": "n", "X-Rekindle-Cluster": "prod", "X-Rekindle-Body-Sha256": "00ff"}
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.FixedZone("", 8*3600)) // the master's clock, and not ours
	proof, err := c.ProveIdentity(t.Context(), headers, at)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(proof)
	if err != nil || u.Scheme != "https" || u.Host != "sts.cn-north-1.amazonaws.com.cn" || u.Path != "/" || u.User != nil || u.Fragment != "" {
		t.Fatalf("%s: %v", proof, err)
	}
	query := u.Query()
	signature := query.Get("X-Amz-Signature")
	want := url.Values{
		"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Expires": {"60"},
		"X-Amz-Credential": {"AKIDEXAMPLE/20310202/cn-north-1/sts/aws4_request"}, "X-Amz-Date": {"20310202T200506Z"},
		"X-Amz-Security-Token": {"session"}, "X-Amz-Signature": {signature},
		"X-Amz-SignedHeaders": {"host;x-rekindle-body-sha256;x-rekindle-cluster;x-rekindle-nonce"},
	}
	if !maps.EqualFunc(query, want, slices.Equal[[]string]) || len(signature) != 64 {
		t.Errorf("%v, want %v", query, want)
	}
	if len(asked.asks) != 0 {
		t.Error("a request was made")
	}

	// Every one of them changes the signature.
	for name := range headers {
		other := maps.Clone(headers)
		other[name] += "x"
		again, err := c.ProveIdentity(t.Context(), other, at)
		if err != nil || strings.Contains(again, signature) {
			t.Errorf("%s is not bound: %v", name, err)
		}
	}
	if later, err := c.ProveIdentity(t.Context(), headers, at.Add(time.Second)); err != nil || strings.Contains(later, signature) {
		t.Errorf("the time is not bound: %v", err)
	}
}

// A header that is not signed proves nothing.
func TestProveIdentityWithHeadersThatAreNotSigned(t *testing.T) {
	laptop(t)
	c := newClients(t, Options{Region: "cn-north-1", Transport: &wire{do: denied}})
	for _, name := range []string{"User-Agent", "Authorization", "X-Amz-Nonce"} {
		proof, err := c.ProveIdentity(t.Context(), map[string]string{name: "the-value", "X-Rekindle-Nonce": "n"}, time.Now())
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "the-value") {
			t.Errorf("%s: %q, error %v", name, proof, err)
		}
	}
}

func TestProveIdentityWithoutCredentials(t *testing.T) {
	laptop(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, imds := newFake(nil)
	c := newClients(t, Options{Region: "cn-north-1", IMDS: imds, Transport: &wire{do: denied}})
	if _, err := c.ProveIdentity(t.Context(), nil, time.Now()); err == nil || !strings.Contains(err.Error(), "instance profile") {
		t.Error(err)
	}
}

func TestSTSEndpoint(t *testing.T) {
	for name, tt := range map[string]struct {
		options Options
		env     [2]string
		want    string
	}{
		"China":    {options: Options{Region: "cn-northwest-1", DNSSuffix: "amazonaws.com.cn"}, want: "https://sts.cn-northwest-1.amazonaws.com.cn/"},
		"GovCloud": {options: Options{Region: "us-gov-east-1", DNSSuffix: "amazonaws.com"}, want: "https://sts.us-gov-east-1.amazonaws.com/"},
		// Not the global endpoint, which signs for another region.
		"the oldest region": {options: Options{Region: "us-east-1", DNSSuffix: "amazonaws.com"}, want: "https://sts.us-east-1.amazonaws.com/"},
		"isolated":          {options: Options{Region: "us-iso-east-1", DNSSuffix: "c2s.ic.gov"}, want: "https://sts.us-iso-east-1.c2s.ic.gov/"},
		"isolated, second":  {options: Options{Region: "us-isob-east-1"}, want: "https://sts.us-isob-east-1.sc2s.sgov.gov/"},
		"younger than the SDK": {
			options: Options{Region: "xx-hidden-1", DNSSuffix: "cloud.hidden"}, want: "https://sts.xx-hidden-1.cloud.hidden/"},
		"younger than the SDK, with FIPS": {
			options: Options{Region: "xx-hidden-1", DNSSuffix: "cloud.hidden"}, env: [2]string{"AWS_USE_FIPS_ENDPOINT", "true"},
			want: "https://sts-fips.xx-hidden-1.cloud.hidden/"},
		"FIPS": {
			options: Options{Region: "us-west-2"}, env: [2]string{"AWS_USE_FIPS_ENDPOINT", "true"},
			want: "https://sts-fips.us-west-2.amazonaws.com/"},
		"dual stack": {
			options: Options{Region: "cn-north-1"}, env: [2]string{"AWS_USE_DUALSTACK_ENDPOINT", "true"},
			want: "https://sts.cn-north-1.api.amazonwebservices.com.cn/"},
		"the operator's own": {
			options: Options{Region: "cn-north-1", Endpoints: map[string]string{"sts": "http://127.0.0.1:8080/api"}},
			env:     [2]string{"AWS_USE_FIPS_ENDPOINT", "true"}, want: "http://127.0.0.1:8080/api"},
		"the environment's": {
			options: Options{Region: "cn-north-1"}, env: [2]string{"AWS_ENDPOINT_URL_STS", "https://sts.example"}, want: "https://sts.example/"},
	} {
		t.Run(name, func(t *testing.T) {
			laptop(t)
			if tt.env[0] != "" {
				t.Setenv(tt.env[0], tt.env[1])
			}
			w := &wire{do: denied}
			tt.options.Transport = w
			c := newClients(t, tt.options)
			got, err := c.STSEndpoint(t.Context())
			if err != nil || got.String() != tt.want {
				t.Fatalf("%v, %v; want %s", got, err, tt.want)
			}
			if len(w.asks) != 0 {
				t.Error("a request was made")
			}
			// The proof is for there, and so are the SDK's own requests.
			proof, err := c.ProveIdentity(t.Context(), nil, time.Now())
			if err != nil || !strings.HasPrefix(proof, tt.want+"?Action=GetCallerIdentity&") ||
				!strings.Contains(proof, "%2F"+tt.options.Region+"%2Fsts%2Faws4_request") {
				t.Errorf("%s: %v", proof, err)
			}
			if err := calls(t.Context(), c)["sts"](); err == nil || w.last().URL.String() != tt.want {
				t.Errorf("the SDK asks %s: %v", w.last().URL, err)
			}
		})
	}
}

func TestHTTPClientFollowsNobody(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		laptop(t)
		var elsewhere int
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				elsewhere++
				return
			}
			http.Redirect(w, r, "/elsewhere", code)
		}))
		defer server.Close()
		client := newClients(t, Options{Region: "cn-north-1"}).HTTPClient()
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != code || elsewhere != 0 {
			t.Errorf("%d: answered with %d, followed %d times", code, resp.StatusCode, elsewhere)
		}
	}
}
