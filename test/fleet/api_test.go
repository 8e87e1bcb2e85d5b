//go:build fleet

package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// apiServes asks an API server whether it is ready, as the kubelet of the machine would: from the machine's network, at the
// address that its hosts file has, with its certificate. The server reads from etcd for that.
func (m *machine) apiServes(ctx context.Context) error {
	hosts, err := os.ReadFile(m.Path("/etc/hosts"))
	if err != nil {
		return err
	}
	const name = "api.internal.demo"
	addresses := namesOf(string(hosts))[name]
	if len(addresses) == 0 {
		return errors.New("no API server has a name")
	}
	const own = "/var/lib/kubelet/pki/kubelet-client-current.pem" // certificate and key
	pair, err := tls.LoadX509KeyPair(m.Path(own), m.Path(own))
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(m.Path("/etc/kubernetes/pki/ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return m.net.Dial(ctx, network, net.JoinHostPort(addresses[0], "6443"))
		},
		DisableKeepAlives: true,
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+name+":6443/readyz", nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("API server at %s: %w", addresses[0], err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("API server at %s: %s: %s: %w", addresses[0], response.Status, text, err)
	}
	return nil
}
