package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	authentication "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/test/lab/standin/root"
)

// apiServer plays the kube-apiserver of a static pod where no containers run: it listens where the pod's flags say, with
// the certificate and the client CA that they name, and answers who a client is by its certificate. It reaches etcd with
// the pod's client certificate. It stores nothing.
type apiServer struct {
	flags map[string]string
	etcd  []string
}

const apiServerPod = "kube-apiserver"

// newAPIServer reads the pod's flags.
func newAPIServer(pod *v1.Pod) (*apiServer, error) {
	s := &apiServer{flags: map[string]string{}}
	container := pod.Spec.Containers[0]
	for _, arg := range slices.Concat(container.Command, container.Args) {
		if name, value, ok := strings.Cut(strings.TrimPrefix(arg, "--"), "="); ok && strings.HasPrefix(arg, "--") {
			s.flags[name] = value
		}
	}
	for _, name := range []string{"advertise-address", "secure-port", "client-ca-file", "tls-cert-file", "tls-private-key-file", "etcd-servers"} {
		if s.flags[name] == "" {
			return nil, fmt.Errorf("static pod %s: no --%s", pod.Name, name)
		}
	}
	s.etcd = strings.Split(s.flags["etcd-servers"], ",")
	return s, nil
}

// serve answers until ctx ends.
func (s *apiServer) serve(ctx context.Context) error {
	address := net.JoinHostPort(s.flags["advertise-address"], s.flags["secure-port"])
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/selfsubjectreviews", s.whoAmI)
	return serveTLS(ctx, "stand-in API server", address, pair{s.flags["tls-cert-file"], s.flags["tls-private-key-file"]},
		s.flags["client-ca-file"], mux)
}

// ready reads from every etcd server, as the real one's check does.
func (s *apiServer) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	var errs []error
	for _, server := range s.etcd {
		errs = append(errs, s.read(ctx, server))
	}
	if err := errors.Join(errs...); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, "ok")
}

func (s *apiServer) read(ctx context.Context, server string) error {
	options := clientv3.Config{Endpoints: []string{server}, Context: ctx, DialTimeout: 3 * time.Second}
	if strings.HasPrefix(server, "https:") {
		own, err := pair{s.flags["etcd-certfile"], s.flags["etcd-keyfile"]}.load()
		if err != nil {
			return err
		}
		roots, err := readPool(s.flags["etcd-cafile"])
		if err != nil {
			return err
		}
		options.TLS = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*own}}
	}
	client, err := clientv3.New(options)
	if err != nil {
		return fmt.Errorf("etcd %s: %w", server, err)
	}
	defer client.Close()
	if _, err := client.Get(ctx, "/registry/health"); err != nil {
		return fmt.Errorf("etcd %s: %w", server, err)
	}
	return nil
}

// whoAmI answers a SelfSubjectReview: the user and groups that the client's certificate stands for
// (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#self-subject-review).
func (s *apiServer) whoAmI(w http.ResponseWriter, r *http.Request) {
	if len(r.TLS.VerifiedChains) == 0 {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	subject := r.TLS.VerifiedChains[0][0].Subject
	review := authentication.SelfSubjectReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"},
		Status: authentication.SelfSubjectReviewStatus{UserInfo: authentication.UserInfo{
			Username: subject.CommonName, Groups: append(slices.Clone(subject.Organization), "system:authenticated"),
		}},
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	if err := json.NewEncoder(w).Encode(review); err != nil {
		say("self subject review: %v", err)
	}
}

// pair is a certificate and its key on the node.
type pair struct{ certificate, key string }

func (p pair) load() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(root.Path(p.certificate), root.Path(p.key))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.certificate, err)
	}
	return &c, nil
}
