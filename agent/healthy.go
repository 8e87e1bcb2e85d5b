package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"rekindle/agent/etcd"
	"rekindle/agent/plan"
)

// The files by which a master's API server is known.
const (
	apiServerManifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	schedulerConfig   = "/etc/kubernetes/scheduler.conf"
)

// healthy asks once whether what other nodes depend on is well here: etcd's members and the API server.
func (a *Agent) healthy(ctx context.Context, n *node) error {
	var errs []error
	for _, member := range n.want.Etcd {
		errs = append(errs, etcd.Healthy(ctx, member))
	}
	return errors.Join(append(errs, a.apiHealthy(ctx, n.want))...)
}

// ownServer is the URL of the API server that a plan puts on the node.
func ownServer(want *plan.Plan) (server string, ok bool) {
	own := slices.IndexFunc(want.Certs, func(c plan.Cert) bool { return c.Path == schedulerConfig })
	if own < 0 || !slices.ContainsFunc(want.Files, func(f plan.File) bool { return f.Path == apiServerManifest }) {
		return "", false
	}
	return want.Certs[own].Kubeconfig, true
}

// apiHealthy asks the API server of this node, which tells everybody whether it is ready.
func (a *Agent) apiHealthy(ctx context.Context, want *plan.Plan) error {
	server, ok := ownServer(want)
	if !ok {
		return nil
	}
	trusted, err := a.host.Read(authorityFiles["kubernetes"])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	client := http.Client{Timeout: 5 * time.Second, Transport: transport}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", request.URL, response.Status)
	}
	return nil
}
