package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rekindle/agent/join"
	"rekindle/agent/pki"
	"rekindle/test/cloud"
	"rekindle/test/lab/region"
)

// attack is a request in which one thing is not as an honest node has it.
type attack struct {
	name   string
	reason join.Reason
	launch func(*cloud.InstanceSpec)       // the instance, before it is launched
	bend   func(t *testing.T, e *exchange) // the request, before it is sealed
}

var attacks = []attack{
	{name: "altered body", reason: join.Altered, bend: func(_ *testing.T, e *exchange) {
		e.sent = func(body []byte) []byte { return append(body, '\n') }
	}},
	{name: "altered CSR", reason: join.Altered, bend: func(t *testing.T, e *exchange) {
		e.sent = func(body []byte) []byte {
			ours := request(t, join.KubeProxy, pki.Spec{CommonName: "system:kube-proxy"})
			return replaceCSR(t, body, e.body.Requests[2], ours)
		}
	}},
	{name: "late", reason: join.Late, bend: func(_ *testing.T, e *exchange) { e.at = e.at.Add(-20 * time.Minute) }},
	{name: "from the future", reason: join.Late, bend: func(_ *testing.T, e *exchange) { e.at = e.at.Add(20 * time.Minute) }},
	{name: "foreign account", reason: join.ForeignAccount, bend: func(_ *testing.T, e *exchange) {
		e.keys = e.Cloud.AssumeRole(region.NodeProfile, e.instance.ID, "999999999999")
	}},
	{name: "wrong IAM role", reason: join.WrongRole, launch: func(s *cloud.InstanceSpec) { s.Role = "builders" }},
	{name: "a master's IAM role", reason: join.WrongRole, launch: func(s *cloud.InstanceSpec) { s.Role = region.MasterProfile }},
	{name: "a user", reason: join.BadProof, bend: func(_ *testing.T, e *exchange) { e.keys = e.Cloud.AdminCredentials() }},
	{name: "session that is not an instance", reason: join.NotAnInstance, bend: func(_ *testing.T, e *exchange) {
		e.keys = e.Cloud.AssumeRole(region.NodeProfile, "alice", "")
	}},
	{name: "another's instance id", reason: join.NotAnInstance, bend: func(_ *testing.T, e *exchange) { e.body.Instance = e.master.ID }},
	{name: "foreign cluster", reason: join.ForeignCluster, bend: func(_ *testing.T, e *exchange) { e.body.Cluster = "elsewhere" }},
	{name: "untagged cluster", reason: join.UntaggedCluster, launch: func(s *cloud.InstanceSpec) { delete(s.Tags, "rekindle:cluster") }},
	{name: "another cluster's tag", reason: join.UntaggedCluster, launch: func(s *cloud.InstanceSpec) {
		s.Tags["rekindle:cluster"] = "elsewhere"
	}},
	{name: "wrong role tag", reason: join.UntaggedRole, launch: func(s *cloud.InstanceSpec) { s.Tags["rekindle:role"] = "bastion" }},
	{name: "terminated instance", reason: join.NotRunning, bend: func(_ *testing.T, e *exchange) { e.Terminate(e.Node(e.instance.ID)) }},
	{name: "unknown instance", reason: join.UnknownInstance, bend: func(_ *testing.T, e *exchange) {
		e.Terminate(e.Node(e.instance.ID))
		e.Cloud.Forget(e.instance.ID)
	}},
	{name: "wrong source address", reason: join.WrongAddress, bend: func(_ *testing.T, e *exchange) {
		e.from = netip.MustParseAddr("127.9.9.9")
	}},
	{name: "presigned URL of another host", reason: join.WrongHost, bend: func(_ *testing.T, e *exchange) {
		e.sts = "https://sts.attacker.example/"
	}},
	{name: "presigned URL with redirect", reason: join.Redirected, bend: redirect},
	{name: "greedy CN", reason: join.WrongSubject, bend: func(t *testing.T, e *exchange) {
		e.body.Requests[0] = request(t, join.KubeletClient, pki.Spec{CommonName: "kubernetes-admin", Organizations: []string{"system:masters"}})
	}},
	{name: "greedy organization", reason: join.WrongSubject, bend: func(t *testing.T, e *exchange) {
		e.body.Requests[0] = request(t, join.KubeletClient, pki.Spec{
			CommonName: "system:node:" + e.instance.ID, Organizations: []string{"system:nodes", "system:masters"}})
	}},
	{name: "another node's name", reason: join.WrongSubject, bend: func(t *testing.T, e *exchange) {
		e.body.Node = e.master.ID
		e.body.Requests[0] = request(t, join.KubeletClient, pki.Spec{
			CommonName: "system:node:" + e.master.ID, Organizations: []string{"system:nodes"}})
	}},
	{name: "greedy SAN", reason: join.WrongSubject, bend: func(t *testing.T, e *exchange) {
		e.body.Requests[1] = request(t, join.KubeletServing, pki.Spec{CommonName: "system:node:" + e.instance.ID,
			Organizations: []string{"system:nodes"}, Names: []string{e.instance.ID, "api.internal." + e.Name}})
	}},
	{name: "unsigned headers", reason: join.BadProof, bend: func(_ *testing.T, e *exchange) {
		e.signed = func(headers map[string]string) { clear(headers) }
	}},
}

// TestAttacks: a master refuses what is not as it should be, each for its own reason, and says so where people look.
func TestAttacks(t *testing.T) {
	t.Parallel()
	c := cluster(t, "attacks")
	x := newTarget(t, c, c.Boot(t.Context(), t, "master"))
	t.Run("control: an honest node", func(t *testing.T) {
		e := x.newExchange(t, nil)
		e.granted(t, e.seal(t))
	})
	t.Run("replayed request", func(t *testing.T) {
		e := x.newExchange(t, nil)
		s := e.seal(t)
		e.granted(t, s)
		e.refused(t, s, join.Replayed)
	})
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			e := x.newExchange(t, a.launch)
			if a.bend != nil {
				a.bend(t, e)
			}
			s := e.seal(t)
			e.refused(t, s, a.reason)
		})
	}
}

// granted wants certificates for exactly what was asked for.
func (e *exchange) granted(t *testing.T, s sealed) {
	t.Helper()
	before := e.counted(t)
	code, reason, certificates := e.send(t, s)
	if code != http.StatusOK || reason != join.Granted || len(certificates) != len(e.body.Requests) {
		t.Fatalf("%d %s, %d certificates", code, reason, len(certificates))
	}
	want := []string{"CN=system:node:" + e.instance.ID + ",O=system:nodes", "CN=system:node:" + e.instance.ID + ",O=system:nodes", "CN=system:kube-proxy"}
	for n, der := range certificates {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if got := certificate.Subject.String(); got != want[n] {
			t.Errorf("%s: %s", e.body.Requests[n].Name, got)
		}
		if _, err := certificate.Verify(x509.VerifyOptions{Roots: e.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Error(err)
		}
	}
	e.rose(t, before, join.Granted)
}

// refused wants a reason in the answer, in the log and in the metrics, and no secret in any of them.
func (e *exchange) refused(t *testing.T, s sealed, want join.Reason) {
	t.Helper()
	before, said := e.counted(t), len(refusals(e.log(t)))
	code, reason, certificates := e.send(t, s)
	if code != http.StatusForbidden || reason != want || len(certificates) > 0 {
		t.Errorf("%d %s, %d certificates; want %d %s", code, reason, len(certificates), http.StatusForbidden, want)
	}
	e.rose(t, before, want)
	log := e.log(t)
	lines := refusals(log)[said:]
	if len(lines) != 1 || !strings.Contains(lines[0], "reason="+string(want)+" ") ||
		!strings.Contains(lines[0], "instance="+e.body.Instance+" ") || !strings.Contains(lines[0], "address="+e.from.String()+" ") {
		t.Errorf("the log says %q, and should have one line with reason=%s instance=%s address=%s", lines, want, e.body.Instance, e.from)
	}
	proof, err := url.Parse(s.proof)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"X-Amz-Signature=", "X-Amz-Security-Token=", proof.Query().Get("X-Amz-Signature"), e.keys.SessionToken, e.keys.SecretAccessKey} {
		if secret != "" && strings.Contains(log, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// rose wants one answer more with the reason, and none with another.
func (e *exchange) rose(t *testing.T, before map[join.Reason]int, reason join.Reason) {
	t.Helper()
	want := maps.Clone(before)
	want[reason]++
	if now := e.counted(t); !maps.Equal(now, want) {
		t.Errorf("the metrics count %v; before it was %v, and %s should be one more", now, before, reason)
	}
}

// redirect has STS send the master elsewhere, where somebody would vouch for anybody.
func redirect(t *testing.T, e *exchange) {
	var asked atomic.Int32
	impostor := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	fault := e.Cloud.Faults().Add(cloud.Fault{Service: "sts", Instance: e.instance.ID, Do: cloud.Redirect(impostor.URL)})
	t.Cleanup(func() {
		if fault.Hits() != 1 || asked.Load() != 0 {
			t.Errorf("STS was asked %d times, and the host of the redirect %d times", fault.Hits(), asked.Load())
		}
		fault.Remove()
		impostor.Close()
	})
}

// replaceCSR exchanges one request of a body and nothing else.
func replaceCSR(t *testing.T, body []byte, from, to join.Request) []byte {
	t.Helper()
	text := base64.StdEncoding.EncodeToString
	if !bytes.Contains(body, []byte(text(from.CSR))) {
		t.Fatalf("the CSR is not in %s", body)
	}
	return bytes.Replace(body, []byte(text(from.CSR)), []byte(text(to.CSR)), 1)
}

// TestEveryReasonIsAttacked: whoever adds a reason adds an attack, or says here why there is none.
func TestEveryReasonIsAttacked(t *testing.T) {
	elsewhere := map[string]string{
		"Granted": "the control", "Replayed": "an attack of its own",
		"Malformed": "a matter of bytes: agent/join", "UnknownRequest": "agent/join", "BadCSR": "agent/join", "BadNonce": "agent/join",
		"ForeignPartition": "no account is in two partitions: agent/join", "Busy": "agent/join", "Unavailable": "agent/join",
	}
	for _, reason := range join.Reasons() {
		attacked := slices.ContainsFunc(attacks, func(a attack) bool { return string(a.reason) == reason })
		if _, said := elsewhere[reason]; said == attacked {
			t.Errorf("%s: attacked %t, and said to be elsewhere %t", reason, attacked, said)
		}
	}
}
