package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"rekindle/agent/plan"
	"rekindle/test/lab/node"
)

// etcd writes to every member of every etcd cluster that a node carries, and reads it back.
func (s *Suite) etcd(ctx context.Context) (string, error) {
	var errs []error
	saw := map[string][]string{} // by cluster
	members := 0
	for _, n := range s.Region.Nodes() {
		for _, m := range s.plans[n.ID].Etcd {
			members++
			if m.Unit == "" {
				saw[m.Name] = append(saw[m.Name], "is a static pod, which a laboratory does not run")
				continue
			}
			answer, err := writeRead(ctx, n, m, "rekindle-lab/"+n.ID)
			if err == nil {
				err = refused(ctx, n, m)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: etcd %s at %s: %w", n.ID, m.Name, m.ClientURL, err))
				continue
			}
			saw[m.Name] = append(saw[m.Name], answer)
		}
	}
	if members == 0 {
		return "no node carries etcd", nil
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(saw)) {
		line := name + " " + saw[name][len(saw[name])-1]
		if n := len(saw[name]); n > 1 {
			line = fmt.Sprintf("%s, and %d more do", line, n-1)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; "), errors.Join(errs...)
}

func writeRead(ctx context.Context, n *node.Node, member plan.Etcd, key string) (string, error) {
	config, err := etcdTLS(n, true)
	if err != nil {
		return "", err
	}
	_, endpoint, err := at(member.ClientURL, member.Address)
	if err != nil {
		return "", err
	}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", endpoint)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{member.ClientURL}, Context: ctx, DialTimeout: 5 * time.Second, TLS: config,
		// gRPC takes the name that a certificate must have from the endpoint, whatever the TLS configuration says.
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)},
	})
	if err != nil {
		return "", err
	}
	defer client.Close()
	value := time.Now().Format(time.RFC3339Nano)
	if _, err := client.Put(ctx, key, value); err != nil {
		return "", err
	}
	got, err := client.Get(ctx, key)
	if err != nil {
		return "", err
	}
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != value {
		return "", fmt.Errorf("wrote %q, read %v", value, got.Kvs)
	}
	about, err := client.Status(ctx, member.ClientURL)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s answers on %s, revision %d", about.Version, member.ClientURL, got.Header.Revision), nil
}

// at is where a member's URL leads: the name in it is for the certificate, and only the nodes know what it stands for.
func at(memberURL, address string) (server, endpoint string, err error) {
	u, err := url.Parse(memberURL)
	if err != nil {
		return "", "", err
	}
	return u.Hostname(), net.JoinHostPort(address, u.Port()), nil
}

// etcdTLS is how a health check on the node reaches etcd; without its own certificate it is nobody.
func etcdTLS(n *node.Node, own bool) (*tls.Config, error) {
	authority, err := os.ReadFile(n.Path("/etc/kubernetes/pki/etcd/ca.crt"))
	if err != nil {
		return nil, err
	}
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	if !c.RootCAs.AppendCertsFromPEM(authority) {
		return nil, errors.New("etcd/ca.crt holds no certificate")
	}
	if own {
		pair, err := tls.LoadX509KeyPair(n.Path("/etc/kubernetes/pki/etcd/healthcheck-client.crt"), n.Path("/etc/kubernetes/pki/etcd/healthcheck-client.key"))
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// refused wants etcd to let nobody in without a certificate of its authority, neither as a client nor as a peer.
func refused(ctx context.Context, n *node.Node, member plan.Etcd) error {
	for _, address := range []string{member.ClientURL, member.PeerURL} {
		server, endpoint, err := at(address, member.Address)
		if err != nil {
			return err
		}
		config, err := etcdTLS(n, false)
		if err != nil {
			return err
		}
		config.ServerName = server
		dialer := tls.Dialer{Config: config}
		conn, err := dialer.DialContext(ctx, "tcp", endpoint)
		if err != nil {
			return fmt.Errorf("%s: %w", address, err)
		}
		// In TLS 1.3 the server's alert about a missing certificate comes with the first read.
		conn.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // the read fails then
		_, err = conn.Read(make([]byte, 1))
		conn.Close() //nolint:errcheck // nothing was written
		if err == nil || !strings.Contains(err.Error(), "certificate required") {
			return fmt.Errorf("%s lets a client in that has no certificate: %w", address, err)
		}
	}
	return nil
}

// kubelet asks every kubelet for its health.
func (s *Suite) kubelet(ctx context.Context) (string, error) {
	var errs []error
	well := 0
	for _, n := range s.Region.Nodes() {
		i := s.Region.Cloud.Instance(n.ID)
		if !runsKubelet(n, s) {
			continue
		}
		url := "http://" + net.JoinHostPort(i.PrivateIP.String(), "10248") + "/healthz"
		if err := healthy(ctx, url); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.ID, err))
			continue
		}
		well++
	}
	return fmt.Sprintf("%d answer /healthz", well), errors.Join(errs...)
}

func runsKubelet(n *node.Node, s *Suite) bool {
	for _, u := range s.plans[n.ID].Units {
		if u.Name == "kubelet.service" {
			return true
		}
	}
	return false
}

func healthy(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}

// loopback reports connections that left the machine.
func (s *Suite) loopback(context.Context) (string, error) {
	samples, sockets, outside := s.Sniff.Seen()
	if samples == 0 {
		return "", errors.New("nobody looked")
	}
	if len(outside) > 0 {
		return "", fmt.Errorf("connections beyond loopback: %s", strings.Join(slices.Sorted(maps.Keys(outside)), ", "))
	}
	return fmt.Sprintf("%d sockets in %d samples of all processes, none beyond loopback", sockets, samples), nil
}
