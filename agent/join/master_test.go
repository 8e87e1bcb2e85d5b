package join

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"rekindle/agent/pki"
)

const (
	theCluster  = "prod.example"
	theAccount  = "123456789012"
	theRegion   = "cn-north-1"
	theSTS      = "https://sts.cn-north-1.amazonaws.com.cn/"
	theInstance = "i-0123456789abcdef0"
	theAddress  = "10.0.0.7"
	emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// stsStandIn verifies presigned URLs as STS does: the signature is computed anew from the request that arrived.
type stsStandIn struct {
	mu     sync.Mutex
	owners map[string]owner // by access key
	answer func(*http.Request) *reply
	seen   []*http.Request
}

type owner struct {
	aws.Credentials
	arn string
}

// reply is an answer of STS.
type reply struct {
	status         int
	body, location string
}

func (f *stsStandIn) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a := f.judge(r)
	res := &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}
	if a.location != "" {
		res.Header.Set("Location", a.location)
	}
	return res, nil
}

func (f *stsStandIn) judge(r *http.Request) *reply {
	if f.answer != nil {
		if res := f.answer(r); res != nil {
			return res
		}
	}
	q := r.URL.Query()
	credential := strings.Split(q.Get("X-Amz-Credential"), "/")
	known, ok := f.owners[credential[0]]
	if !ok || known.SessionToken != q.Get("X-Amz-Security-Token") {
		return stsFailure(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	if known.CanExpire && time.Now().After(known.Expires) {
		return stsFailure(403, "ExpiredToken", "The security token included in the request is expired")
	}
	signed, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	if err != nil || len(credential) != 5 || r.Method != http.MethodGet {
		return stsFailure(400, "IncompleteSignature", "")
	}
	if age := time.Since(signed); age > 15*time.Minute {
		return stsFailure(403, "SignatureDoesNotMatch", "Signature expired: then is now earlier than now")
	}
	again := &http.Request{Method: r.Method, Host: r.URL.Host, Header: http.Header{}}
	again.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path}
	for name := range strings.SplitSeq(q.Get("X-Amz-SignedHeaders"), ";") {
		if values := r.Header.Values(name); name != "host" {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	rest := maps.Clone(q)
	for _, name := range []string{"Algorithm", "Credential", "Date", "SignedHeaders", "Security-Token", "Signature"} {
		delete(rest, "X-Amz-"+name)
	}
	again.URL.RawQuery = rest.Encode()
	text, _, err := v4.NewSigner().PresignHTTP(r.Context(), known.Credentials, again, emptyDigest, credential[3], credential[2], signed)
	if err != nil {
		return stsFailure(500, "InternalFailure", err.Error())
	}
	right, err := url.Parse(text)
	if err != nil || right.Query().Get("X-Amz-Signature") != q.Get("X-Amz-Signature") || credential[3] != "sts" {
		return stsFailure(403, "SignatureDoesNotMatch", "The Canonical String for this request should have been "+r.URL.RawQuery)
	}
	if q.Get("Action") != "GetCallerIdentity" {
		return stsFailure(403, "AccessDenied", "")
	}
	return stsAnswer(200, callerXML(known.arn))
}

func callerXML(arn string) string {
	account := cmp.Or(strings.Split(arn+":::::", ":")[4], "none")
	return fmt.Sprintf(`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
		`<Arn>%s</Arn><UserId>AROAEXAMPLE:x</UserId><Account>%s</Account></GetCallerIdentityResult>`+
		`<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`, arn, account)
}

func stsAnswer(status int, body string) *reply { return &reply{status: status, body: body} }

func stsFailure(status int, code, message string) *reply {
	return stsAnswer(status, fmt.Sprintf(`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>`+
		`<Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code, strings.ReplaceAll(message, "&", "&amp;")))
}

// master is a join server and the world around it.
type master struct {
	*Server
	options   ServerOptions
	sts       *stsStandIn
	authority *pki.Authority

	mu        sync.Mutex
	instances map[string]Instance
	ec2       error
	observed  []Reason
	logged    bytes.Buffer
}

var theCA = sync.OnceValue(func() *pki.Authority { return makeAuthority(time.Now()) })

func makeAuthority(now time.Time) *pki.Authority {
	a, err := pki.New(pki.Kubernetes, "ECDSA-P256", 10*365*24*time.Hour, now)
	if err != nil {
		panic(err)
	}
	return a
}

var theKey = sync.OnceValue(func() crypto.Signer {
	key, err := pki.NewKey("ECDSA-P256")
	if err != nil {
		panic(err)
	}
	return key
})

func newMaster(t testing.TB, change ...func(*ServerOptions)) *master {
	t.Helper()
	m := &master{
		authority: theCA(),
		sts:       &stsStandIn{owners: map[string]owner{}},
		instances: map[string]Instance{theInstance: {
			ID: theInstance, State: "running", Tags: map[string]string{"cluster": theCluster, "role": "minion"},
			Addresses: []netip.Addr{netip.MustParseAddr(theAddress), netip.MustParseAddr("2001:db8::7")},
			Public:    []netip.Addr{netip.MustParseAddr("192.0.2.9")},
			Names:     []string{theInstance, "ip-10-0-0-7.cn-north-1.compute.internal"},
		}},
	}
	endpoint, err := url.Parse(theSTS)
	if err != nil {
		t.Fatal(err)
	}
	m.options = ServerOptions{
		Cluster: theCluster, Account: theAccount, Partition: "aws-cn", Region: theRegion, STS: endpoint,
		HTTP: &http.Client{Transport: m.sts}, Life: 720 * time.Hour, IAMRoles: []string{"minions"}, Roles: []string{"minion"},
		Instances: m.describe, Tags: testTags,
		Authority: func(context.Context) (*pki.Authority, error) { return m.authority, nil },
		Observe: func(r Reason, _ string, _ time.Duration) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.observed = append(m.observed, r)
		},
		Logger: slog.New(slog.NewTextHandler(&lockedWriter{m: m}, nil)),
	}
	for _, c := range change {
		c(&m.options)
	}
	if m.Server, err = NewServer(m.options); err != nil {
		t.Fatal(err)
	}
	return m
}

type lockedWriter struct{ m *master }

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return w.m.logged.Write(p)
}

// testTags reads tags by the names that only these tests use: what tags mean is package facts' business.
func testTags(tags map[string]string) (cluster, role string, err error) {
	if tags["contradiction"] != "" {
		return "", "", errors.New("tags: two answers")
	}
	return tags["cluster"], tags["role"], nil
}

func (m *master) describe(_ context.Context, ids []string) (map[string]Instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ec2 != nil {
		return nil, m.ec2
	}
	found := map[string]Instance{}
	for _, id := range ids {
		if i, ok := m.instances[id]; ok {
			found[id] = i
		}
	}
	return found, nil
}

// change alters what EC2 says of the instance.
func (m *master) change(f func(*Instance)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.instances[theInstance]
	f(&i)
	m.instances[theInstance] = i
}

func (m *master) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	return w
}

// exchange is one join, which a test may bend anywhere.
type exchange struct {
	*master
	body    Body
	keys    owner
	at      time.Time
	from    string
	service string
	host    string                  // that the proof is for
	query   map[string]string       // parameters of the proof, before it is signed
	signed  func(map[string]string) // the headers that are signed
	proof   func(string) string     // after it was signed
	sent    func([]byte) []byte     // the body, after it was signed
	before  func(*http.Request)     // the last word before the request goes out
}

func (m *master) exchange(t testing.TB) *exchange {
	t.Helper()
	x := &exchange{master: m, at: time.Now(), from: theAddress, service: "sts", host: theSTS, query: map[string]string{
		"Action": "GetCallerIdentity", "Version": "2011-06-15", "X-Amz-Expires": "300",
	}}
	x.keys = m.session("ASIAEXAMPLE", "arn:aws-cn:sts::"+theAccount+":assumed-role/minions/"+theInstance)
	x.body = Body{Version: Protocol, Cluster: theCluster, Instance: theInstance, Node: theInstance, Nonce: m.nonces.issue()}
	node := "system:node:" + theInstance
	nodes := []string{"system:nodes"}
	x.body.Requests = []Request{
		ask(t, KubeletClient, pki.Spec{CommonName: node, Organizations: nodes}),
		ask(t, KubeletServing, pki.Spec{CommonName: node, Organizations: nodes, Names: []string{theInstance, theAddress}}),
		ask(t, KubeProxy, pki.Spec{CommonName: "system:kube-proxy"}),
	}
	return x
}

func ask(t testing.TB, name string, spec pki.Spec) Request {
	t.Helper()
	spec.Usages, spec.Life = []string{pki.Client}, time.Hour
	csr, err := pki.NewCSR(spec, theKey())
	if err != nil {
		t.Fatal(err)
	}
	return Request{Name: name, CSR: csr}
}

// session makes credentials that STS knows.
func (m *master) session(key, arn string) owner {
	m.sts.mu.Lock()
	defer m.sts.mu.Unlock()
	o := owner{aws.Credentials{AccessKeyID: key, SecretAccessKey: "the-secret-of-" + key, SessionToken: "to+ken/of=" + key}, arn}
	m.sts.owners[key] = o
	return o
}

// seal is the body and the proof over it.
func (x *exchange) seal(t testing.TB) (data []byte, proof string) {
	t.Helper()
	data, err := json.Marshal(x.body)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	headers := map[string]string{
		BodyHeader: hex.EncodeToString(sum[:]), ClusterHeader: x.body.Cluster, NonceHeader: x.body.Nonce,
	}
	if x.signed != nil {
		x.signed(headers)
	}
	proof = x.presign(t, headers)
	if x.proof != nil {
		proof = x.proof(proof)
	}
	if x.sent != nil {
		data = x.sent(data)
	}
	return data, proof
}

// send makes the request and returns the answer.
func (x *exchange) send(t testing.TB) *httptest.ResponseRecorder {
	t.Helper()
	data, proof := x.seal(t)
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, JoinPath, bytes.NewReader(data))
	request.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(x.from), 40000).String()
	if proof != "" {
		request.Header.Set(ProofHeader, proof)
	}
	if x.before != nil {
		x.before(request)
	}
	return x.serve(request)
}

func (x *exchange) presign(t testing.TB, headers map[string]string) string {
	t.Helper()
	query := url.Values{}
	for name, value := range x.query {
		query.Set(name, value)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, x.host+"?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	text, _, err := v4.NewSigner().PresignHTTP(t.Context(), x.keys.Credentials, req, emptyDigest, x.service, theRegion, x.at)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// want checks the answer, and that the refusal was counted and logged without a secret.
func (x *exchange) want(t testing.TB, w *httptest.ResponseRecorder, reason Reason) {
	t.Helper()
	if w.Code != answers[reason].status {
		t.Errorf("status %d, want %d: %s", w.Code, answers[reason].status, w.Body)
	}
	if reason != Granted {
		var r Refusal
		if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || r.Reason != reason || r.Message == "" {
			t.Errorf("answer %s (%v), want %s", w.Body, err, reason)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.observed) == 0 || x.observed[len(x.observed)-1] != reason {
		t.Errorf("observed %v, want %s at the end", x.observed, reason)
	}
	log := x.logged.String()
	if word := "reason=" + string(reason); reason != Granted && !strings.Contains(log, word) {
		t.Errorf("the log lacks %s: %s", word, log)
	}
	for _, secret := range []string{"X-Amz-Signature=", "Security-Token=", "to+ken", "to%2Bken", "the-secret"} {
		if strings.Contains(log+w.Body.String(), secret) {
			t.Errorf("the log or the answer holds %q: %s %s", secret, log, w.Body)
		}
	}
}

// lines are those of the log.
func (m *master) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Split(strings.TrimSpace(m.logged.String()), "\n")
}
