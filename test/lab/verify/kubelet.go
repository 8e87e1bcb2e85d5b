package verify

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	authentication "k8s.io/api/authentication/v1"

	"rekindle/test/lab/node"
)

// Kubelet asks an API server who it is, and reaches one as a node's kubelet does: with the node's certificate, at the address
// that the node's hosts file has for the name in its kubeconfig, over a connection that is kept. It is for one goroutine.
type Kubelet struct {
	node    *node.Node
	user    string // the certificate's
	server  string
	http    *http.Client
	dialled atomic.Int64
}

// NewKubelet reads the node's kubeconfig and certificate. It connects nowhere yet.
func NewKubelet(n *node.Node) (*Kubelet, error) {
	c, err := readClient(n, "/etc/kubernetes/kubelet.conf")
	if err != nil {
		return nil, fmt.Errorf("%s: /etc/kubernetes/kubelet.conf: %w", n.ID, err)
	}
	own, err := x509.ParseCertificate(c.certificate.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("%s: the kubelet's certificate: %w", n.ID, err)
	}
	k := &Kubelet{node: n, user: own.Subject.CommonName, server: c.server, http: c.https("")}
	transport := k.http.Transport.(*http.Transport)
	transport.DisableKeepAlives, transport.DialContext = false, k.dial
	return k, nil
}

func (k *Kubelet) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	hosts, err := os.ReadFile(k.node.Path("/etc/hosts"))
	if err != nil {
		return nil, err
	}
	addresses := addressesOf(hosts, k.server)
	if len(addresses) == 0 {
		return nil, fmt.Errorf("/etc/hosts has no %s", k.server)
	}
	k.dialled.Add(1)
	return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(addresses[0], "6443"))
}

// Connections is how many it has begun to open so far.
func (k *Kubelet) Connections() int { return int(k.dialled.Load()) }

// Disconnect closes the connection: the next question opens another.
func (k *Kubelet) Disconnect() { k.http.CloseIdleConnections() }

// Ask returns the names and addresses of the API server that answered, as its certificate has them. It is an error if that
// takes the kubelet for somebody else, or does not answer within 5 s.
func (k *Kubelet) Ask(ctx context.Context) (server []string, err error) {
	body := strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"https://"+k.server+"/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := k.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var review authentication.SelfSubjectReview
	err = json.NewDecoder(response.Body).Decode(&review)
	_, rest := io.Copy(io.Discard, response.Body) // a body that was not read to its end ends the connection
	if err := errors.Join(err, rest); err != nil {
		return nil, fmt.Errorf("%s: %w", response.Status, err)
	}
	if got := review.Status.UserInfo.Username; got != k.user {
		return nil, fmt.Errorf("%s: taken for %q, not for %q", response.Status, got, k.user)
	}
	certificate := response.TLS.PeerCertificates[0]
	server = certificate.DNSNames
	for _, address := range certificate.IPAddresses {
		server = append(server, address.String())
	}
	return server, nil
}
