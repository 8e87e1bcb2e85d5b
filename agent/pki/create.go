package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Algorithms are those of new keys, as kubeadm names them.
var Algorithms = []string{"ECDSA-P256", "ECDSA-P384", "RSA-2048", "RSA-3072", "RSA-4096"}

// backdate is how far before now a new authority counts, so that a node whose clock lags accepts it. It is kubeadm's.
const backdate = 5 * time.Minute

// commonNames are kubeadm's (cmd/kubeadm/app/phases/certs).
var commonNames = map[string]string{Kubernetes: "kubernetes", Etcd: "etcd-ca", FrontProxy: "front-proxy-ca"}

// NewKey makes a private key of one of Algorithms.
func NewKey(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "ECDSA-P256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSA-P384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "RSA-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "RSA-3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "RSA-4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fmt.Errorf("key algorithm %q: use %s", algorithm, strings.Join(Algorithms, ", "))
}

// New makes an authority that nobody has yet. It counts for life from now.
func New(name, algorithm string, life time.Duration, now time.Time) (*Authority, error) {
	if !slices.Contains(Names, name) {
		return nil, fmt.Errorf("authority %q: they are %s", name, strings.Join(Names, ", "))
	}
	key, err := NewKey(algorithm)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	return withKey(name, key, life, now)
}

// withKey makes an authority of a key.
func withKey(name string, key crypto.Signer, life time.Duration, now time.Time) (*Authority, error) {
	a := &Authority{Name: name, Key: key}
	if name == ServiceAccount {
		a.Keys = []crypto.PublicKey{key.Public()}
		return a, nil
	}
	certificate, err := selfSigned(commonNames[name], key, life, now)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	a.Certificates = []*x509.Certificate{certificate}
	return a, nil
}

func selfSigned(commonName string, key crypto.Signer, life time.Duration, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	// The SubjectKeyId, by which a chain is built when two generations have one subject, is added by CreateCertificate.
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		DNSNames:     []string{commonName}, // as kubeadm's have it
		NotBefore:    now.Add(-backdate).UTC(),
		NotAfter:     now.Add(life).UTC(),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,

		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newSerial is 128 random bits, and never zero.
func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	serial, err := rand.Int(rand.Reader, limit.Sub(limit, big.NewInt(1)))
	if err != nil {
		return nil, err
	}
	return serial.Add(serial, big.NewInt(1)), nil
}
