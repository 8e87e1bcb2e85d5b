package identity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"sigs.k8s.io/yaml"

	"rekindle/agent/join"
	"rekindle/agent/pki"
	"rekindle/test/cloud"
	"rekindle/test/identity/clusters"
	"rekindle/test/lab/node"
)

// target is a master that signs certificates.
type target struct {
	*clusters.Cluster
	master  *node.Node
	address netip.Addr
	roots   *x509.CertPool
	sts     string // as nodes and masters have it
}

func newTarget(t *testing.T, c *clusters.Cluster, master *node.Node) *target {
	t.Helper()
	x := &target{Cluster: c, master: master, address: c.Cloud.Instance(master.ID).PrivateIP, roots: x509.NewCertPool()}
	if !x.roots.AppendCertsFromPEM(c.Object(t.Context(), t, pki.PublicKey(pki.Kubernetes))) {
		t.Fatal("no certificates in the store")
	}
	text, err := os.ReadFile(master.Path("/etc/rekindle/10-lab.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var image struct {
		AWS struct {
			Endpoints map[string]string `json:"endpoints"`
		} `json:"aws"`
	}
	if err := yaml.Unmarshal(text, &image); err != nil || image.AWS.Endpoints["sts"] == "" {
		t.Fatalf("no endpoint of STS in %s: %v", text, err)
	}
	x.sts = image.AWS.Endpoints["sts"] + "/"
	return x
}

// exchange is one join by hand. As newExchange makes it, it is an honest one; a test bends one thing.
type exchange struct {
	*target
	instance *cloud.Instance
	keys     cloud.Credentials
	from     netip.Addr
	body     join.Body
	at       time.Time
	sts      string                  // the proof's host
	signed   func(map[string]string) // changes the headers that are signed
	sent     func([]byte) []byte     // changes the body after the proof was made
}

// newExchange launches an instance and takes its place: its agent ends, and the test has its address and credentials.
func (x *target) newExchange(t *testing.T, change func(*cloud.InstanceSpec)) *exchange {
	t.Helper()
	spec := x.Spec("minion")
	spec.UserData = nil
	if change != nil {
		change(&spec)
	}
	n := x.Launch(t, spec)
	if err := n.Kill(); err != nil {
		t.Fatal(err)
	}
	i := x.Cloud.Instance(n.ID)
	e := &exchange{target: x, instance: i, keys: x.Cloud.Credentials(i.ID), from: i.PrivateIP, at: time.Now(), sts: x.sts}
	user := pki.Spec{CommonName: "system:node:" + i.ID, Organizations: []string{"system:nodes"}}
	e.body = join.Body{Version: join.Protocol, Cluster: x.Name, Instance: i.ID, Node: i.ID, Requests: []join.Request{
		request(t, join.KubeletClient, user),
		request(t, join.KubeletServing, with(user, i.ID, i.PrivateIP.String())),
		request(t, join.KubeProxy, pki.Spec{CommonName: "system:kube-proxy"}),
	}}
	return e
}

// with is a spec with names.
func with(s pki.Spec, names ...string) pki.Spec {
	s.Names = names
	return s
}

// request asks for a certificate for a new key.
func request(t *testing.T, name string, spec pki.Spec) join.Request {
	t.Helper()
	spec.Usages, spec.Life = []string{pki.Client}, time.Hour // a CSR has neither
	key, err := pki.NewKey("ECDSA-P256")
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewCSR(spec, key)
	if err != nil {
		t.Fatal(err)
	}
	return join.Request{Name: name, CSR: csr}
}

// sealed is a request for certificates as it goes out.
type sealed struct {
	body  []byte
	proof string
	from  netip.Addr
}

// seal fetches a nonce, and makes a body and a proof over it.
func (e *exchange) seal(t *testing.T) sealed {
	t.Helper()
	var challenge join.Challenge
	code, text := e.call(t, http.MethodGet, join.NoncePath, sealed{from: e.from})
	if err := json.Unmarshal(text, &challenge); err != nil || code != http.StatusOK {
		t.Fatalf("nonce: %d %s: %v", code, text, err)
	}
	e.body.Nonce = challenge.Nonce
	body, err := json.Marshal(e.body)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	headers := map[string]string{
		join.BodyHeader: hex.EncodeToString(sum[:]), join.ClusterHeader: e.body.Cluster, join.NonceHeader: challenge.Nonce,
	}
	if e.signed != nil {
		e.signed(headers)
	}
	out := sealed{body: body, proof: e.presign(t, headers), from: e.from}
	if e.sent != nil {
		out.body = e.sent(body)
	}
	return out
}

func (e *exchange) presign(t *testing.T, headers map[string]string) string {
	t.Helper()
	const emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of the body of a GET
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		e.sts+"?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	proof, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{
		AccessKeyID: e.keys.AccessKeyID, SecretAccessKey: e.keys.SecretAccessKey, SessionToken: e.keys.SessionToken,
	}, r, emptyDigest, "sts", e.Cloud.Region(), e.at.UTC())
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// call makes one request to the master, from an address of the caller's choice.
func (x *target) call(t *testing.T, method, path string, s sealed) (code int, text []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "https://"+join.ServerName(x.Name)+path, bytes.NewReader(s.body))
	if err != nil {
		t.Fatal(err)
	}
	if s.proof != "" {
		r.Header.Set(join.ProofHeader, s.proof)
	}
	dialer := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.from, 0))}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: x.roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, netip.AddrPortFrom(x.address, 3988).String())
		},
	}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, text
}

// send asks for the certificates and returns the reason of the answer.
func (x *target) send(t *testing.T, s sealed) (code int, reason join.Reason, certificates [][]byte) {
	t.Helper()
	code, text := x.call(t, http.MethodPost, join.JoinPath, s)
	var answer struct {
		join.Refusal
		join.Certificates
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%d %s: %v", code, text, err)
	}
	if code == http.StatusOK && answer.Reason == "" {
		answer.Reason = join.Granted
	}
	return code, answer.Reason, answer.Certificates.Certificates
}

var series = regexp.MustCompile(`(?m)^rekindle_join_requests_total\{reason="(\w+)"\} (\d+)$`)

// counted are the master's answers so far, by reason, as Prometheus sees them.
func (x *target) counted(t *testing.T) map[join.Reason]int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/metrics", netip.AddrPortFrom(x.address, 3989)), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[join.Reason]int{}
	for _, m := range series.FindAllStringSubmatch(string(text), -1) {
		if counts[join.Reason(m[1])], err = strconv.Atoi(m[2]); err != nil {
			t.Fatal(err)
		}
	}
	if len(counts) == 0 {
		t.Fatalf("no rekindle_join_requests_total in\n%s", text)
	}
	return counts
}

// log is what the master's agent has said.
func (x *target) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(x.master.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// refusals are the lines about refused joins.
func refusals(log string) []string {
	var lines []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, "join refused") {
			lines = append(lines, line)
		}
	}
	return lines
}
