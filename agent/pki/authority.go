package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// MinRSA is the smallest RSA key that is accepted, in bits: Go's TLS refuses smaller ones.
const MinRSA = 2048

// CertificatePEM is what to trust: the certificates, or ServiceAccount's public keys, in order.
func (a *Authority) CertificatePEM() []byte {
	var out bytes.Buffer
	for _, certificate := range a.Certificates {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: certificate.Raw}))
	}
	for _, key := range a.Keys {
		out.Write(publicPEM(key))
	}
	return out.Bytes()
}

// KeyPEM is the private key, as kubeadm writes it (SEC 1 or PKCS #1): the API server, the controller manager and etcd
// read these, and so does every version of kubeadm.
func (a *Authority) KeyPEM() ([]byte, error) {
	if a.Key == nil {
		return nil, fmt.Errorf("authority %s: this node does not hold its key", a.Name)
	}
	data, err := keyPEM(a.Key)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", a.Name, err)
	}
	return data, nil
}

// Fingerprint identifies the signer: the SHA-256 of its certificate, or of ServiceAccount's public key, hexadecimal.
func (a *Authority) Fingerprint() string {
	switch {
	case len(a.Certificates) > 0:
		return fingerprint(a.Certificates[0])
	case len(a.Keys) > 0:
		return keyFingerprint(a.Keys[0])
	}
	return ""
}

// Check says what keeps the authority from being used now: a key that does not fit, a certificate that is no CA's, or one
// whose time is over or has not come. Certificates that are only trusted may be of any age.
func (a *Authority) Check(now time.Time) error {
	if err := a.check(now); err != nil {
		return fmt.Errorf("authority %s: %w", a.Name, err)
	}
	return nil
}

func (a *Authority) check(now time.Time) error {
	if err := a.sound(); err != nil {
		return err
	}
	if a.Name == ServiceAccount {
		return nil
	}
	signer := a.Certificates[0]
	switch {
	case now.Before(signer.NotBefore):
		return fmt.Errorf("its certificate %s counts from %s, and now it is %s", describe(signer),
			signer.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case now.After(signer.NotAfter):
		return fmt.Errorf("its certificate %s expired at %s", describe(signer), signer.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// sound is Check without the clock: an authority that has expired must still be readable, or nobody could rotate it.
func (a *Authority) sound() error {
	if a.Name == ServiceAccount {
		return a.soundKeys()
	}
	if len(a.Certificates) == 0 {
		return errors.New("it has no certificate")
	}
	for _, certificate := range a.Certificates {
		if err := canSign(certificate); err != nil {
			return fmt.Errorf("certificate %s: %w", describe(certificate), err)
		}
	}
	if a.Key != nil && !fits(a.Key, a.Certificates[0].PublicKey) {
		return fmt.Errorf("the private key does not fit certificate %s", describe(a.Certificates[0]))
	}
	return nil
}

func (a *Authority) soundKeys() error {
	if len(a.Keys) == 0 {
		return errors.New("it has no public key")
	}
	for _, key := range a.Keys {
		if err := usable(key); err != nil {
			return err
		}
	}
	if a.Key != nil && !fits(a.Key, a.Keys[0]) {
		return errors.New("the private key does not fit the first public key")
	}
	return nil
}

// canSign says why a certificate cannot be an authority's.
func canSign(certificate *x509.Certificate) error {
	switch {
	case !certificate.BasicConstraintsValid || !certificate.IsCA:
		return errors.New("it is not a CA's (basicConstraints CA:TRUE is missing)")
	case certificate.KeyUsage != 0 && certificate.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("its keyUsage does not allow it to sign certificates (keyCertSign is missing)")
	}
	return usable(certificate.PublicKey)
}

// usable accepts the keys that every component of Kubernetes and etcd can use.
func usable(public crypto.PublicKey) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < MinRSA {
			return fmt.Errorf("an RSA key of %d bits: at least %d are needed", bits, MinRSA)
		}
		return nil
	case *ecdsa.PublicKey:
		if !slices.Contains([]int{256, 384, 521}, key.Curve.Params().BitSize) {
			return fmt.Errorf("an ECDSA key on curve %s: use P-256, P-384 or P-521", key.Curve.Params().Name)
		}
		return nil
	}
	return fmt.Errorf("a key of type %T: use ECDSA or RSA", public)
}

// fits tells whether a private key belongs to a public one.
func fits(private crypto.Signer, public crypto.PublicKey) bool {
	own, ok := private.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && own.Equal(public)
}

// describe is what people know a certificate by.
func describe(certificate *x509.Certificate) string {
	return fmt.Sprintf("%q (%.16s)", certificate.Subject.String(), fingerprint(certificate))
}

func fingerprint(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.Raw)
	return hex.EncodeToString(sum[:])
}

func keyFingerprint(public crypto.PublicKey) string {
	block, _ := pem.Decode(publicPEM(public))
	if block == nil {
		return ""
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}
