package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	authentication "k8s.io/api/authentication/v1"
	"sigs.k8s.io/yaml"

	"rekindle/agent/plan"
	"rekindle/test/lab/node"
)

// identity has every kubeconfig of every node say who it is to every API server: each node is itself, each component its
// own user, and nobody is let in without a certificate.
func (s *Suite) identity(ctx context.Context) (string, error) {
	servers := s.apiServers()
	if len(servers) == 0 {
		return "no node plays an API server", nil
	}
	var errs []error
	asked := 0
	for _, n := range s.Region.Nodes() {
		for _, path := range kubeconfigs(s.plans[n.ID]) {
			c, err := readClient(n, path)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", n.ID, path, err))
				continue
			}
			want := users(n, s.plans[n.ID])[path]
			for _, server := range c.among(servers) {
				asked++
				if got, err := c.whoAmI(ctx, server); err != nil || got != want {
					errs = append(errs, fmt.Errorf("%s: %s: the API server on %s takes it for %q, not for %q: %w", n.ID, path, server, got, want, err))
				}
			}
			c.certificate = nil
			if got, err := c.whoAmI(ctx, c.among(servers)[0]); err == nil {
				errs = append(errs, fmt.Errorf("%s: the API server takes nobody for %q", n.ID, got))
			}
		}
	}
	return fmt.Sprintf("%d times a kubeconfig was who it should be; nobody without a certificate is let in", asked), errors.Join(errs...)
}

// apiServers are the addresses of the API servers.
func (s *Suite) apiServers() []string {
	var all []string
	for _, n := range s.Region.Nodes() {
		p := s.plans[n.ID]
		if runsKubelet(n, s) && slices.ContainsFunc(p.Files, func(f plan.File) bool { return f.Path == "/etc/kubernetes/manifests/kube-apiserver.yaml" }) {
			all = append(all, net.JoinHostPort(s.Region.Cloud.Instance(n.ID).PrivateIP.String(), "6443"))
		}
	}
	return all
}

// users are whom each kubeconfig stands for.
func users(n *node.Node, p *plan.Plan) map[string]string {
	return map[string]string{
		"/etc/kubernetes/kubelet.conf":            "system:node:" + p.Node + " [system:nodes system:authenticated]",
		"/etc/kubernetes/kube-proxy.conf":         "system:kube-proxy [system:authenticated]",
		"/etc/kubernetes/admin.conf":              "kubernetes-admin [system:masters system:authenticated]",
		"/etc/kubernetes/controller-manager.conf": "system:kube-controller-manager [system:authenticated]",
		"/etc/kubernetes/scheduler.conf":          "system:kube-scheduler [system:authenticated]",
	}
}

func kubeconfigs(p *plan.Plan) []string {
	var paths []string
	for path := range users(nil, p) {
		if slices.ContainsFunc(p.Files, func(f plan.File) bool { return f.Path == path }) ||
			slices.ContainsFunc(p.Certs, func(c plan.Cert) bool { return c.Path == path }) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// client is what a kubeconfig holds.
type client struct {
	server      string // the name of the API server
	roots       *x509.CertPool
	certificate *tls.Certificate
}

// readClient reads a kubeconfig of a node and the files that it refers to.
func readClient(n *node.Node, path string) (*client, error) {
	text, err := os.ReadFile(n.Path(path))
	if err != nil {
		return nil, err
	}
	var c kubeconfig
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return nil, err
	}
	if len(c.Clusters) != 1 || len(c.Users) != 1 {
		return nil, errors.New("want one cluster and one user")
	}
	part := func(from map[string]any, name string) []byte {
		if data, _ := from[name+"-data"].(string); data != "" {
			text, decodeErr := base64.StdEncoding.DecodeString(data)
			err = errors.Join(err, decodeErr)
			return text
		}
		file, _ := from[name].(string)
		text, readErr := os.ReadFile(n.Path(file))
		err = errors.Join(err, readErr)
		return text
	}
	cluster, user := c.Clusters[0].Cluster, c.Users[0].User
	authority := part(cluster, "certificate-authority")
	certificate, key := part(user, "client-certificate"), part(user, "client-key")
	if err != nil {
		return nil, err
	}
	own, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	address, _ := cluster["server"].(string)
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	out := &client{server: u.Hostname(), roots: x509.NewCertPool(), certificate: &own}
	if !out.roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("no certificate authority")
	}
	return out, nil
}

// among are the servers that the kubeconfig can mean: any master, unless it gives one's address.
func (c *client) among(servers []string) []string {
	if _, err := netip.ParseAddr(c.server); err != nil {
		return servers
	}
	return []string{net.JoinHostPort(c.server, "6443")}
}

// https is a client for one address, whose server must be who the kubeconfig says: nothing resolves names here.
func (c *client) https(address string) *http.Client {
	config := &tls.Config{RootCAs: c.roots, ServerName: c.server}
	if c.certificate != nil {
		config.Certificates = []tls.Certificate{*c.certificate}
	}
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: config, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
}

// whoAmI asks an API server whom it takes the client for.
func (c *client) whoAmI(ctx context.Context, address string) (string, error) {
	body := strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"https://"+c.server+"/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.https(address).Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("%s: %s: %w", response.Status, text, err)
	}
	var review authentication.SelfSubjectReview
	if err := json.Unmarshal(text, &review); err != nil {
		return "", err
	}
	groups := slices.DeleteFunc(review.Status.UserInfo.Groups, func(g string) bool { return g == "" })
	return fmt.Sprintf("%s %v", review.Status.UserInfo.Username, groups), nil
}

// kubelets asks every kubelet for its pods as an API server does, and as nobody, whom it must refuse.
func (s *Suite) kubelets(ctx context.Context) (string, error) {
	var errs []error
	well := 0
	for _, n := range s.Region.Nodes() {
		if !runsKubelet(n, s) {
			continue
		}
		address := net.JoinHostPort(s.Region.Cloud.Instance(n.ID).PrivateIP.String(), "10250")
		c, err := s.apiServerClient()
		if err != nil {
			return "", err
		}
		c.server = s.Region.Cloud.Instance(n.ID).PrivateIP.String() // the API server connects to InternalIP
		code, err := c.get(ctx, address, "/pods")
		if err != nil || code != http.StatusOK {
			errs = append(errs, fmt.Errorf("%s: the API server gets %d from the kubelet: %w", n.ID, code, err))
			continue
		}
		c.certificate = nil
		if code, err := c.get(ctx, address, "/pods"); err != nil || code != http.StatusUnauthorized {
			errs = append(errs, fmt.Errorf("%s: nobody gets %d from the kubelet: %w", n.ID, code, err))
			continue
		}
		well++
	}
	return fmt.Sprintf("%d serve the API server with a certificate for their address, and nobody else", well), errors.Join(errs...)
}

// apiServerClient is how a master's API server reaches kubelets.
func (s *Suite) apiServerClient() (*client, error) {
	for _, n := range s.Region.Nodes() {
		own, err := tls.LoadX509KeyPair(n.Path("/etc/kubernetes/pki/apiserver-kubelet-client.crt"), n.Path("/etc/kubernetes/pki/apiserver-kubelet-client.key"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		authority, err := os.ReadFile(n.Path("/etc/kubernetes/pki/ca.crt"))
		if err != nil {
			return nil, err
		}
		c := &client{roots: x509.NewCertPool(), certificate: &own}
		if !c.roots.AppendCertsFromPEM(authority) {
			return nil, fmt.Errorf("%s: no certificates in ca.crt", n.ID)
		}
		return c, nil
	}
	return nil, errors.New("no master holds a client certificate for kubelets")
}

func (c *client) get(ctx context.Context, address, path string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		return 0, err
	}
	response, err := c.https(address).Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}
