package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"
)

// testCA signs what the tests need.
type testCA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newCA(t *testing.T) *testCA {
	t.Helper()
	ca := &testCA{key: newKey(t)}
	der := sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true}, nil, ca.key, ca)
	ca.certificate, _ = x509.ParseCertificate(der) //nolint:errcheck // it was made a line ago
	return ca
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key *ecdsa.PrivateKey, ca *testCA) []byte {
	t.Helper()
	template.SerialNumber, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// issue makes a certificate for a user of a group, valid for connections to 127.0.0.1 as well.
func (ca *testCA) issue(t *testing.T, user, group string) (certificate, key string) {
	t.Helper()
	own := newKey(t)
	der := sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: user, Organization: []string{group}}, IPAddresses: []net.IP{{127, 0, 0, 1}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}, ca.certificate, own, ca)
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", secret)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// freePort is one that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String()) //nolint:errcheck // a listener's address has a port
	return port
}

func TestAPIServerKnowsItsClients(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	certificate, key := ca.issue(t, "kube-apiserver", "")
	roots := block("CERTIFICATE", ca.certificate.Raw)
	tree(t, map[string]string{"/ca.crt": roots, "/s.crt": certificate, "/s.key": key})
	port := freePort(t)
	pod := &v1.Pod{}
	pod.Name = apiServerPod
	pod.Spec.Containers = []v1.Container{{Command: []string{"kube-apiserver", "--advertise-address=127.0.0.1", "--secure-port=" + port,
		"--client-ca-file=/ca.crt", "--tls-cert-file=/s.crt", "--tls-private-key-file=/s.key", "--etcd-servers=https://127.0.0.1:1"}}}
	s, err := newAPIServer(pod)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if err := s.serve(ctx); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	for _, c := range []struct {
		name   string
		signer *testCA
		want   string
	}{
		{"its own authority", ca, `"username":"system:node:i-1","groups":["system:nodes","system:authenticated"]`},
		{"nobody", nil, "Unauthorized"},
		{"another authority", other, "bad certificate|unknown certificate|certificate required"},
	} {
		config := &tls.Config{RootCAs: pool}
		if c.signer != nil {
			client, err := tls.X509KeyPair(pairOf(c.signer.issue(t, "system:node:i-1", "system:nodes")))
			if err != nil {
				t.Fatal(err)
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &client, nil }
		}
		got := ask(config, "https://127.0.0.1:"+port+"/apis/authentication.k8s.io/v1/selfsubjectreviews")
		found := false
		for want := range strings.SplitSeq(c.want, "|") {
			found = found || strings.Contains(got, want)
		}
		if !found {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func pairOf(certificate, key string) ([]byte, []byte) { return []byte(certificate), []byte(key) }

func ask(config *tls.Config, url string) string {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	response, err := client.Post(url, "application/json", nil)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return fmt.Sprint(string(text), err)
}

func TestKubeletWantsNoAnonymousAccess(t *testing.T) {
	on := true
	c := &kubelet.KubeletConfiguration{TLSCertFile: "/a"}
	c.Authentication.X509.ClientCAFile, c.Authentication.Anonymous.Enabled = "/ca", &on
	expect(t, serveKubelet(t.Context(), c), "anybody could")
}

func TestAPIServerNeedsItsFlags(t *testing.T) {
	pod := &v1.Pod{}
	pod.Name = apiServerPod
	pod.Spec.Containers = []v1.Container{{Command: []string{"kube-apiserver", "--secure-port=6443"}}}
	_, err := newAPIServer(pod)
	expect(t, err, "no --advertise-address")
}
