package join

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"rekindle/agent/pki"
)

// attacks are requests that must be refused, each for its own reason. One thing is wrong with each of them; all else is
// as an honest node has it. asked: STS had to be asked to find out.
var attacks = []struct {
	name   string
	reason Reason
	asked  bool
	bend   func(t *testing.T, x *exchange)
}{
	// What is not of the protocol.
	{"oversized body", Malformed, false, func(_ *testing.T, x *exchange) {
		x.sent = func(b []byte) []byte { return append(b, strings.Repeat(" ", MaxBody)...) }
	}},
	{"unknown field", Malformed, false, bodyText(func(s string) string { return strings.Replace(s, "{", `{"admin":true,`, 1) })},
	{"a field twice", Malformed, false, bodyText(func(s string) string {
		return strings.Replace(s, "{", `{"instance":"i-0123456789abcdef1",`, 1)
	})},
	{"a field in another case", Malformed, false, bodyText(func(s string) string { return strings.Replace(s, "{", `{"Cluster":"x",`, 1) })},
	{"trailing data", Malformed, false, bodyText(func(s string) string { return s + "{}" })},
	{"no JSON", Malformed, false, bodyText(func(string) string { return "instance=i-0123456789abcdef0" })},
	{"null", Malformed, false, bodyText(func(string) string { return "null" })},
	{"no body", Malformed, false, bodyText(func(string) string { return "" })},
	{"a longer instance than there is", Malformed, false, func(_ *testing.T, x *exchange) { x.body.Instance += strings.Repeat("0", 64) }},
	{"another protocol version", Malformed, false, func(_ *testing.T, x *exchange) { x.body.Version = 2 }},
	{"no request", Malformed, false, func(_ *testing.T, x *exchange) { x.body.Requests = nil }},
	{"four requests", Malformed, false, func(_ *testing.T, x *exchange) { x.body.Requests = append(x.body.Requests, x.body.Requests[0]) }},
	{"a request twice", Malformed, false, func(_ *testing.T, x *exchange) { x.body.Requests[1] = x.body.Requests[0] }},
	{"unknown request", UnknownRequest, false, func(_ *testing.T, x *exchange) { x.body.Requests[0].Name = "admin" }},

	// What is of another cluster, time or master.
	{"foreign cluster", ForeignCluster, false, func(_ *testing.T, x *exchange) { x.body.Cluster = "other.example" }},
	{"replayed", Replayed, false, func(t *testing.T, x *exchange) {
		if err := x.nonces.use(x.body.Nonce); err != nil {
			t.Fatal(err)
		}
	}},
	{"a nonce of another master", BadNonce, false, func(_ *testing.T, x *exchange) { x.body.Nonce = newNonces(theCluster).issue() }},
	{"a nonce of our own making", BadNonce, false, func(_ *testing.T, x *exchange) { x.body.Nonce = strings.Repeat("A", len(x.body.Nonce)) }},
	{"no nonce", BadNonce, false, func(_ *testing.T, x *exchange) { x.body.Nonce = "" }},

	// Certificate requests.
	{"no CSR", BadCSR, false, func(_ *testing.T, x *exchange) { x.body.Requests[0].CSR = nil }},
	{"weak key", BadCSR, false, func(t *testing.T, x *exchange) {
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		x.body.Requests[0].CSR = rawCSR(t, key, err, nil)
	}},
	{"weak curve", BadCSR, false, func(t *testing.T, x *exchange) {
		key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
		x.body.Requests[0].CSR = rawCSR(t, key, err, nil)
	}},
	{"a CSR signed by another key", BadCSR, false, func(_ *testing.T, x *exchange) {
		csr := x.body.Requests[0].CSR
		csr[len(csr)-1] ^= 1
	}},
	{"a CSR for an authority", BadCSR, false, func(t *testing.T, x *exchange) {
		x.body.Requests[0].CSR = rawCSR(t, theKey(), nil, &x509.CertificateRequest{
			Subject:         pkix.Name{CommonName: "system:node:" + theInstance, Organization: []string{"system:nodes"}},
			ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}},
		})
	}},

	// Proofs that are none.
	{"unsigned", BadProof, false, func(_ *testing.T, x *exchange) { x.proof = func(string) string { return "" } }},
	{"two proofs", BadProof, false, func(_ *testing.T, x *exchange) {
		x.before = func(r *http.Request) { r.Header.Add(ProofHeader, r.Header.Get(ProofHeader)) }
	}},
	{"oversized proof", BadProof, false, func(_ *testing.T, x *exchange) { x.keys.SessionToken = strings.Repeat("x", MaxProof) }},
	{"POST action swap", BadProof, false, func(_ *testing.T, x *exchange) { x.query["Action"] = "AssumeRole" }},
	{"another action, altered later", BadProof, false, func(_ *testing.T, x *exchange) {
		x.proof = func(s string) string { return strings.Replace(s, "GetCallerIdentity", "GetSessionToken", 1) }
	}},
	{"the action twice", BadProof, false, func(_ *testing.T, x *exchange) {
		x.proof = func(s string) string { return s + "&Action=AssumeRole" }
	}},
	{"extra query parameter", BadProof, false, func(_ *testing.T, x *exchange) {
		x.query["RoleArn"] = "arn:aws-cn:iam::123456789012:role/masters"
	}},
	{"a parameter in another case", BadProof, false, func(_ *testing.T, x *exchange) {
		x.proof = func(s string) string { return s + "&action=AssumeRole" }
	}},
	{"a semicolon between parameters", BadProof, false, func(_ *testing.T, x *exchange) {
		x.proof = func(s string) string { return s + ";Action=AssumeRole" }
	}},
	{"missing signed header", BadProof, false, func(_ *testing.T, x *exchange) {
		x.signed = func(h map[string]string) { delete(h, BodyHeader) }
	}},
	{"missing signed cluster", BadProof, false, func(_ *testing.T, x *exchange) {
		x.signed = func(h map[string]string) { delete(h, ClusterHeader) }
	}},
	{"missing signed nonce", BadProof, false, func(_ *testing.T, x *exchange) {
		x.signed = func(h map[string]string) { delete(h, NonceHeader) }
	}},
	{"one signed header too many", BadProof, false, func(_ *testing.T, x *exchange) {
		x.signed = func(h map[string]string) { h["X-Other"] = "1" }
	}},
	{"signed for another service", BadProof, false, func(_ *testing.T, x *exchange) { x.service = "ec2" }},
	{"scoped to another region", BadProof, false, func(_ *testing.T, x *exchange) {
		x.proof = func(s string) string { return strings.Replace(s, "cn-north-1%2Fsts", "us-east-1%2Fsts", 1) }
	}},
	{"a user's keys, without a session", BadProof, false, func(_ *testing.T, x *exchange) { x.keys.SessionToken = "" }},
	{"unknown keys", BadProof, true, func(_ *testing.T, x *exchange) { x.keys.AccessKeyID = "ASIAUNKNOWN" }},
	{"late", Late, false, func(_ *testing.T, x *exchange) {
		x.at = time.Now().Add(-6 * time.Minute)
		x.query["X-Amz-Expires"] = "900"
	}},
	{"expired", Late, false, func(_ *testing.T, x *exchange) {
		x.at = time.Now().Add(-61 * time.Second)
		x.query["X-Amz-Expires"] = "60"
	}},
	{"from the future", Late, false, func(_ *testing.T, x *exchange) { x.at = time.Now().Add(6 * time.Minute) }},
	{"for longer than STS allows", Late, false, func(_ *testing.T, x *exchange) { x.query["X-Amz-Expires"] = "901" }},
	{"expired credentials", Late, true, func(_ *testing.T, x *exchange) {
		o := x.keys
		o.CanExpire, o.Expires = true, time.Now().Add(-time.Hour)
		x.sts.owners[o.AccessKeyID] = o
	}},

	// What was altered after the signature.
	{"altered body", Altered, true, bodyText(func(s string) string { return s + "\n" })},
	{"altered instance", Altered, true, bodyText(func(s string) string {
		return strings.Replace(s, `"instance":"i-0123456789abcdef0"`, `"instance":"i-0123456789abcdef1"`, 1)
	})},
	{"altered CSR", Altered, true, func(t *testing.T, x *exchange) {
		other := x.body
		other.Requests = []Request{ask(t, KubeProxy, pki.Spec{CommonName: "system:kube-proxy"})}
		x.sent = func([]byte) []byte { return marshal(t, other) }
	}},
	{"altered cluster header", Altered, true, func(_ *testing.T, x *exchange) {
		x.signed = func(h map[string]string) { h[ClusterHeader] = "other.example" }
	}},
	{"altered nonce", Altered, true, func(_ *testing.T, x *exchange) {
		x.signed = func(h map[string]string) { h[NonceHeader] = x.nonces.issue() }
	}},
	{"altered body header", Altered, true, func(_ *testing.T, x *exchange) {
		x.signed = func(h map[string]string) { h[BodyHeader] = emptyDigest }
	}},
	{"altered date", Altered, true, func(_ *testing.T, x *exchange) {
		x.proof = setParameter("X-Amz-Date", x.at.UTC().Add(time.Second).Format(signTime))
	}},
	{"altered life", Altered, true, func(_ *testing.T, x *exchange) { x.proof = setParameter("X-Amz-Expires", "900") }},
	{"altered signature", Altered, true, func(_ *testing.T, x *exchange) {
		x.proof = setParameter("X-Amz-Signature", strings.Repeat("0", 64))
	}},
	{"another's secret", Altered, true, func(_ *testing.T, x *exchange) { x.keys.SecretAccessKey = "guessed" }},

	// A redirect.
	{"STS that answers 302", Redirected, true, func(_ *testing.T, x *exchange) {
		x.sts.answer = func(r *http.Request) *reply {
			if r.URL.Host != "sts.cn-north-1.amazonaws.com.cn" {
				return stsAnswer(200, callerXML("arn:aws-cn:sts::"+theAccount+":assumed-role/minions/"+theInstance))
			}
			return &reply{status: 302, location: "https://attacker.example/"}
		}
	}},

	// Callers who are somebody else.
	{"foreign partition", ForeignPartition, true, session("arn:aws:sts::123456789012:assumed-role/minions/" + theInstance)},
	{"foreign account", ForeignAccount, true, session("arn:aws-cn:sts::210987654321:assumed-role/minions/" + theInstance)},
	{"wrong role", WrongRole, true, session("arn:aws-cn:sts::123456789012:assumed-role/builders/" + theInstance)},
	{"a role that begins alike", WrongRole, true, session("arn:aws-cn:sts::123456789012:assumed-role/minions2/" + theInstance)},
	{"a user", WrongRole, true, session("arn:aws-cn:iam::123456789012:user/minions/" + theInstance)},
	{"a federated user", WrongRole, true, session("arn:aws-cn:sts::123456789012:federated-user/" + theInstance)},
	{"a session of another kind", WrongRole, true, session("arn:aws-cn:sts::123456789012:federated-role/minions/" + theInstance)},
	{"the account itself", WrongRole, true, session("arn:aws-cn:iam::123456789012:root")},
	{"EC2's own role", WrongRole, true, session("arn:aws-cn:sts::123456789012:assumed-role/aws:ec2-instance/" + theInstance)},
	{"no ARN", WrongRole, true, func(_ *testing.T, x *exchange) {
		x.sts.answer = func(*http.Request) *reply {
			return stsAnswer(200, strings.Replace(callerXML("x"), ">x<", ">x:x:x:x:none:x<", 1))
		}
	}},
	{"session not an instance", NotAnInstance, true, func(_ *testing.T, x *exchange) {
		x.keys = x.session("ASIAPERSON", "arn:aws-cn:sts::123456789012:assumed-role/minions/alice")
		x.body.Instance = "alice"
	}},
	{"another's instance id", NotAnInstance, true, func(_ *testing.T, x *exchange) { x.body.Instance = "i-0123456789abcdef1" }},
	{"no instance id", NotAnInstance, true, func(_ *testing.T, x *exchange) { x.body.Instance = "" }},

	// Instances that may not join.
	{"unknown instance", UnknownInstance, true, func(_ *testing.T, x *exchange) { delete(x.instances, theInstance) }},
	{"stopping", NotRunning, true, instance(func(i *Instance) { i.State = "stopping" })},
	{"terminated", NotRunning, true, instance(func(i *Instance) { i.State = "terminated" })},
	{"no state", NotRunning, true, instance(func(i *Instance) { i.State = "" })},
	{"no tags", UntaggedCluster, true, instance(func(i *Instance) { i.Tags = nil })},
	{"wrong cluster tag", UntaggedCluster, true, instance(func(i *Instance) { i.Tags["cluster"] = "other.example" })},
	{"contradicting tags", UntaggedCluster, true, instance(func(i *Instance) { i.Tags["contradiction"] = "yes" })},
	{"wrong tag", UntaggedRole, true, instance(func(i *Instance) { i.Tags["role"] = "bastion" })},
	{"no role tag", UntaggedRole, true, instance(func(i *Instance) { delete(i.Tags, "role") })},
	{"wrong source address", WrongAddress, true, func(_ *testing.T, x *exchange) { x.from = "10.0.0.8" }},
	{"wrong source address behind a header", WrongAddress, true, func(_ *testing.T, x *exchange) {
		x.from = "10.0.0.8"
		x.before = func(r *http.Request) {
			r.Header.Set("X-Forwarded-For", theAddress)
			r.Header.Set("Forwarded", "for="+theAddress)
		}
	}},

	// Instances that want to be somebody else.
	{"another node's name", WrongSubject, true, func(t *testing.T, x *exchange) {
		x.body.Node = "ip-10-0-0-8.cn-north-1.compute.internal"
		x.body.Requests = []Request{ask(t, KubeletClient, pki.Spec{CommonName: "system:node:" + x.body.Node, Organizations: []string{"system:nodes"}})}
	}},
	{"greedy CN", WrongSubject, true, onlyAsk(KubeletClient, pki.Spec{CommonName: "system:node:i-0123456789abcdef1", Organizations: []string{"system:nodes"}})},
	{"greedy CN of a user", WrongSubject, true, onlyAsk(KubeletClient, pki.Spec{CommonName: "kubernetes-admin", Organizations: []string{"system:nodes"}})},
	{"greedy organization", WrongSubject, true, onlyAsk(KubeletClient, pki.Spec{CommonName: "system:node:" + theInstance, Organizations: []string{"system:masters"}})},
	{"greedy second organization", WrongSubject, true, onlyAsk(KubeletClient, pki.Spec{
		CommonName: "system:node:" + theInstance, Organizations: []string{"system:nodes", "system:masters"}})},
	{"no organization", WrongSubject, true, onlyAsk(KubeletClient, pki.Spec{CommonName: "system:node:" + theInstance})},
	{"names in a client's certificate", WrongSubject, true, onlyAsk(KubeletClient, pki.Spec{
		CommonName: "system:node:" + theInstance, Organizations: []string{"system:nodes"}, Names: []string{theInstance}})},
	{"greedy SANs", WrongSubject, true, serving(theInstance, "kubernetes.default.svc")},
	{"greedy SANs, an address", WrongSubject, true, serving(theInstance, "10.96.0.1")},
	{"greedy SANs, a wildcard", WrongSubject, true, serving("*.cn-north-1.compute.internal")},
	{"a public address", WrongSubject, true, serving(theInstance, "192.0.2.9")},
	{"a server without names", WrongSubject, true, serving()},
	{"greedy kube-proxy", WrongSubject, true, onlyAsk(KubeProxy, pki.Spec{CommonName: "system:kube-proxy", Organizations: []string{"system:masters"}})},
	{"another component", WrongSubject, true, onlyAsk(KubeProxy, pki.Spec{CommonName: "system:kube-scheduler"})},
	{"one greedy request among good ones", WrongSubject, true, func(t *testing.T, x *exchange) {
		x.body.Requests[2] = ask(t, KubeProxy, pki.Spec{CommonName: "system:kube-controller-manager"})
	}},

	// Those whom the master asks.
	{"EC2 away", Unavailable, true, func(_ *testing.T, x *exchange) { x.ec2 = errors.New("ec2: RequestLimitExceeded") }},
	{"authority away", Unavailable, true, func(_ *testing.T, x *exchange) { x.authority = &pki.Authority{Name: pki.Kubernetes} }},
	{"STS throttles", Unavailable, true, func(_ *testing.T, x *exchange) {
		x.sts.answer = func(*http.Request) *reply { return stsFailure(400, "Throttling", "Rate exceeded") }
	}},
}

// TestAttacks: each is refused for its own reason, before anybody is asked who need not be asked, and cannot be tried
// again with the same nonce.
func TestAttacks(t *testing.T) {
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			x := newMaster(t).exchange(t)
			a.bend(t, x)
			x.want(t, x.send(t), a.reason)
			if asked := len(x.sts.seen) > 0; asked != a.asked {
				t.Errorf("STS was asked: %t", asked)
			}
			for _, r := range x.sts.seen {
				if r.URL.Host != "sts.cn-north-1.amazonaws.com.cn" {
					t.Errorf("the master went to %s", r.URL.Host)
				}
			}
			if a.asked {
				x.want(t, x.send(t), Replayed)
			}
		})
	}
}

// lookalikes are hosts that are not this region's STS.
var lookalikes = []string{
	"http://sts.cn-north-1.amazonaws.com.cn/",
	"https://sts.cn-northwest-1.amazonaws.com.cn/",       // another region
	"https://sts.us-east-1.amazonaws.com/",               // another partition
	"https://sts.amazonaws.com/",                         // the global one
	"https://sts.cn-north-1.amazonaws.com/",              // without .cn
	"https://sts.cn-north-1.amazonaws.com.cn.evil.test/", //
	"https://sts.cn-north-1.amazonaws.com.cn@evil.test/", // a user name
	"https://user@sts.cn-north-1.amazonaws.com.cn/",
	"https://user:password@sts.cn-north-1.amazonaws.com.cn/",
	"https://sts.cn-north-1.amazonaws.com.cn:443/",
	"https://sts.cn-north-1.amazonaws.com.cn:8443/",
	"https://sts.cn-north-1.amazonaws.com.cn./", // fully qualified
	"https://sts.cn-north-1.amazonaws.com.cn//",
	"https://sts.cn-north-1.amazonaws.com.cn/redirect",
	"https://sts.cn-north-1.amazonaws.com.cn/%2F",
	"https://sts.cn-north-1.amazonaws.com.cn/../",
	"https://STS.cn-north-1.amazonaws.com.cn/",
	"https://sts-cn-north-1.amazonaws.com.cn/",
	"https://sts.cn-north-1.amazonaws.com.cn.s3.amazonaws.com/",
	"https://bucket.s3.cn-north-1.amazonaws.com.cn/",
	"https://ѕts.cn-north-1.amazonaws.com.cn/", // a Cyrillic letter
	"https://52.82.0.1/",
	"https://[2001:db8::1]/",
	"https://169.254.169.254/",
	"https://localhost/",
	"https:/sts.cn-north-1.amazonaws.com.cn/",
	"//sts.cn-north-1.amazonaws.com.cn/",
	"/",
	"",
	"https:sts.cn-north-1.amazonaws.com.cn/",
	"file://sts.cn-north-1.amazonaws.com.cn/",
	"https:///",
}

func TestHostsThatAreNotSTS(t *testing.T) {
	for _, host := range lookalikes {
		t.Run(host, func(t *testing.T) {
			x := newMaster(t).exchange(t)
			x.proof = func(s string) string { return strings.Replace(s, theSTS, host, 1) }
			x.want(t, x.send(t), WrongHost)
			if len(x.sts.seen) > 0 {
				t.Errorf("the master went to %s", x.sts.seen[0].URL.Host)
			}
		})
	}
	for _, host := range []string{"https://sts.cn-north-1.amazonaws.com.cn\\@evil.test/", "https://sts%2ecn-north-1.amazonaws.com.cn/", "https://[::1/"} {
		x := newMaster(t).exchange(t) // no URLs
		x.proof = func(s string) string { return strings.Replace(s, theSTS, host, 1) }
		x.want(t, x.send(t), BadProof)
	}
	x := newMaster(t).exchange(t)
	x.proof = func(s string) string { return s + "#" + theSTS }
	x.want(t, x.send(t), WrongHost)
}

// TestForeignSignatureForOurHost: a proof that the victim made for another host of the attacker's choice is worth nothing,
// even with the host exchanged: the host is signed.
func TestForeignSignatureForOurHost(t *testing.T) {
	x := newMaster(t).exchange(t)
	x.host = "https://attacker.example/"
	x.proof = func(s string) string { return strings.Replace(s, x.host, theSTS, 1) }
	x.want(t, x.send(t), Altered)
}

func TestHonestNodes(t *testing.T) {
	for name, bend := range map[string]func(*testing.T, *exchange){
		"as usual": func(*testing.T, *exchange) {},
		"named after its address": func(t *testing.T, x *exchange) {
			x.body.Node = "ip-10-0-0-7.cn-north-1.compute.internal"
			user := pki.Spec{CommonName: "system:node:" + x.body.Node, Organizations: []string{"system:nodes"}}
			x.body.Requests[0] = ask(t, KubeletClient, user)
			user.Names = []string{x.body.Node, theAddress, "2001:db8::7"}
			x.body.Requests[1] = ask(t, KubeletServing, user)
		},
		"still pending":             instance(func(i *Instance) { i.State = "pending" }),
		"from its IPv6 address":     func(_ *testing.T, x *exchange) { x.from = "2001:db8::7" },
		"from its public address":   func(_ *testing.T, x *exchange) { x.from = "192.0.2.9" },
		"on a socket for both":      func(_ *testing.T, x *exchange) { x.from = "::ffff:10.0.0.7" },
		"with a clock that is off":  func(_ *testing.T, x *exchange) { x.at = time.Now().Add(4 * time.Minute) },
		"with only one certificate": func(_ *testing.T, x *exchange) { x.body.Requests = x.body.Requests[2:] },
		"with a key for RSA": func(t *testing.T, x *exchange) {
			key, err := pki.NewKey("RSA-2048")
			if err != nil {
				t.Fatal(err)
			}
			x.body.Requests = x.body.Requests[:1]
			x.body.Requests[0].CSR = rawCSR(t, key, nil, &x509.CertificateRequest{
				Subject: pkix.Name{CommonName: "system:node:" + theInstance, Organization: []string{"system:nodes"}},
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newMaster(t).exchange(t)
			bend(t, x)
			w := x.send(t)
			x.want(t, w, Granted)
			var answer Certificates
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer.Certificates) != len(x.body.Requests) {
				t.Fatalf("%d certificates, %v", len(answer.Certificates), err)
			}
			for n, der := range answer.Certificates {
				certificate, err := x509.ParseCertificate(der)
				if err != nil {
					t.Fatal(err)
				}
				checkCertificate(t, x, x.body.Requests[n], certificate)
			}
		})
	}
}

// checkCertificate compares a certificate with what was asked for, and with what nobody may have.
func checkCertificate(t *testing.T, x *exchange, r Request, c *x509.Certificate) {
	t.Helper()
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckSignatureFrom(x.authority.Certificates[0]); err != nil {
		t.Error(err)
	}
	if c.Subject.String() != csr.Subject.String() || len(c.DNSNames) != len(csr.DNSNames) || len(c.IPAddresses) != len(csr.IPAddresses) {
		t.Errorf("%s: %s %v %v, asked for %s %v %v", r.Name, c.Subject, c.DNSNames, c.IPAddresses, csr.Subject, csr.DNSNames, csr.IPAddresses)
	}
	usage := x509.ExtKeyUsageClientAuth
	if r.Name == KubeletServing {
		usage = x509.ExtKeyUsageServerAuth
	}
	if c.IsCA || len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != usage {
		t.Errorf("%s: usages %v, CA %t", r.Name, c.ExtKeyUsage, c.IsCA)
	}
	if left := time.Until(c.NotAfter); left > 720*time.Hour || left < 719*time.Hour {
		t.Errorf("%s: valid for %s", r.Name, left)
	}
}

// TestGrantIsLogged with what is needed to find the certificate again.
func TestGrantIsLogged(t *testing.T) {
	x := newMaster(t).exchange(t)
	x.want(t, x.send(t), Granted)
	for _, word := range []string{"join granted", "instance=" + theInstance, "node=" + theInstance, "address=" + theAddress,
		"cluster=" + theCluster, "serials=", "notAfter="} {
		if !strings.Contains(x.logged.String(), word) {
			t.Errorf("the log lacks %s: %s", word, &x.logged)
		}
	}
}

// TestRequestGoesToOwnSTS: what STS gets is the master's own request.
func TestRequestGoesToOwnSTS(t *testing.T) {
	x := newMaster(t).exchange(t)
	x.want(t, x.send(t), Granted)
	r := x.sts.seen[0]
	if r.Method != http.MethodGet || r.Body != nil || r.URL.Scheme+"://"+r.URL.Host+r.URL.Path != theSTS || r.Host != r.URL.Host {
		t.Errorf("%s %s, Host %s", r.Method, r.URL, r.Host)
	}
	if len(r.Header) != 3 || r.Header.Get(NonceHeader) != x.body.Nonce || r.Header.Get(ClusterHeader) != theCluster {
		t.Errorf("headers %v", r.Header)
	}
}

func bodyText(f func(string) string) func(*testing.T, *exchange) {
	return func(_ *testing.T, x *exchange) { x.sent = func(b []byte) []byte { return []byte(f(string(b))) } }
}

func setParameter(name, value string) func(string) string {
	return func(s string) string {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		q := u.Query()
		q.Set(name, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
}

func session(arn string) func(*testing.T, *exchange) {
	return func(_ *testing.T, x *exchange) { x.keys = x.session("ASIAOTHER", arn) }
}

func instance(f func(*Instance)) func(*testing.T, *exchange) {
	return func(_ *testing.T, x *exchange) { x.change(f) }
}

func onlyAsk(name string, spec pki.Spec) func(*testing.T, *exchange) {
	return func(t *testing.T, x *exchange) { x.body.Requests = []Request{ask(t, name, spec)} }
}

func serving(names ...string) func(*testing.T, *exchange) {
	return onlyAsk(KubeletServing, pki.Spec{
		CommonName: "system:node:" + theInstance, Organizations: []string{"system:nodes"}, Names: names,
	})
}

func rawCSR(t *testing.T, key any, err error, template *x509.CertificateRequest) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if template == nil {
		template = &x509.CertificateRequest{}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
