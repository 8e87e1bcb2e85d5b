// Package pki is the cluster's authorities and the certificates that they sign.
//
// There are four authorities: three CAs and the key pair that signs service account tokens. Each is created once, by
// whichever master is first (a conditional write), or brought by the operator. A Vault keeps them in the store: private
// keys under pki/private/, which only masters can read, and what to trust under pki/public/. A Holder brings them and the
// plan's certificates to the disk, and renews what has lived for two thirds of its life.
//
// To add a certificate: an entry in `certs` of its role's role.yaml. To add an authority: a name here, and entries in
// `authorities` of the roles.
package pki

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
)

// The authorities.
const (
	Kubernetes     = "kubernetes"
	Etcd           = "etcd"
	FrontProxy     = "front-proxy"
	ServiceAccount = "service-account" // a key pair, no CA
)

// Names are the authorities in the order in which people list them.
var Names = []string{Kubernetes, Etcd, FrontProxy, ServiceAccount}

// ErrAbsent says that the store answered, and that nobody has created the authority yet.
var ErrAbsent = errors.New("no such authority yet")

// Authority is one authority, as far as the node that holds it may know it.
type Authority struct {
	Name string
	// Certificates are those to trust; the first is the signer's. During a rotation there are two. Of ServiceAccount
	// there are none.
	Certificates []*x509.Certificate
	// Keys are ServiceAccount's public keys; the first belongs to Key.
	Keys []crypto.PublicKey
	// Key signs. It is nil on nodes that only trust.
	Key crypto.Signer
	// Retired are the fingerprints of those that were replaced, as far as masters know.
	Retired []string
}

// Source is where authorities come from: a Vault, or the operator's references.
type Source interface {
	// Private returns an authority with its key. One that never was is created, by whoever is first.
	Private(ctx context.Context, name string) (*Authority, error)
	// Public returns an authority without its key, or ErrAbsent.
	Public(ctx context.Context, name string) (*Authority, error)
}

// Request asks a master for a certificate.
type Request struct {
	Name string // kubelet-client, kubelet-serving or kube-proxy
	CSR  []byte // PKCS #10, DER
}

// Joiner has a master sign certificates.
type Joiner interface {
	// Join returns a certificate, DER, for each request, in order. It waits, under ctx, for a master that answers.
	// roots are the authority that both a master's server certificate and the results must come from.
	Join(ctx context.Context, roots []*x509.Certificate, requests []Request) ([][]byte, error)
}

// Parse makes an authority of its files, PEM: the certificates to trust (of ServiceAccount the public keys), and the
// private key, nil where there is none.
func Parse(name string, trusted, key []byte) (*Authority, error) { return assemble(name, trusted, key) }
