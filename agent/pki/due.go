package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// State is what a certificate on the disk is worth.
type State string

// The states.
const (
	Good State = "good"
	Due  State = "due" // it still counts, and should be renewed
	Bad  State = "bad" // it does not count
)

// Verdict is the judgement of a certificate.
type Verdict struct {
	State State
	Why   string // empty when it is good
	// Certificate is nil when it cannot be read, and Renew, when its time has come, zero.
	Certificate *x509.Certificate
	Renew       time.Time
}

// Leaf is a certificate as it lies on the disk, and what it should be.
type Leaf struct {
	Certificate, Key []byte // PEM; nil when there is no such file
	// Spec is what the certificate must say; one without usages accepts any.
	Spec Spec
	// Trusted are the authority's certificates; the first is the signer's.
	Trusted []*x509.Certificate
	// Seed spreads the renewals of nodes that were launched together: it names the node and the file. Without one the
	// renewal comes at the latest moment.
	Seed string
}

// Judge looks at a certificate. It is pure: the same leaf has the same verdict at the same time.
//
// A certificate that counts only from later on is Due, not Bad: most likely this node's clock is behind, and to others it
// counts. A new one helps if the clock of its signer was wrong; who renews must not take one that is no better.
func Judge(leaf Leaf, now time.Time) Verdict {
	cert, why := leaf.read()
	if cert == nil {
		return Verdict{State: Bad, Why: why}
	}
	v := Verdict{Certificate: cert, Renew: renewAt(cert, leaf.Spec.Life, leaf.Seed)}
	issuer := issuerOf(cert, leaf.Trusted)
	switch {
	case why != "":
		v.State, v.Why = Bad, why
	case !now.Before(cert.NotAfter):
		v.State, v.Why = Bad, "it expired on "+day(cert.NotAfter)
	case issuer == nil:
		v.State, v.Why = Bad, "none of the authority's certificates signed it"
	case !now.Before(issuer.NotAfter):
		v.State, v.Why = Bad, "who signed it expired on "+day(issuer.NotAfter)
	case now.Before(cert.NotBefore):
		v.State, v.Why = Due, fmt.Sprintf("it counts from %s, and this node's clock says %s: one clock is wrong", day(cert.NotBefore), day(now))
	case !issuer.Equal(leaf.Trusted[0]):
		v.State, v.Why = Due, "the authority signs with a new key"
	case !now.Before(v.Renew) && cert.NotAfter.Before(issuer.NotAfter): // else the next one would not live longer
		v.State, v.Why = Due, left(cert, now)
	default:
		v.State = Good
	}
	return v
}

// read parses the pair, and says why it is not what it should be whatever the time is.
func (l *Leaf) read() (cert *x509.Certificate, why string) {
	switch {
	case l.Certificate == nil && l.Key == nil:
		return nil, "none yet"
	case l.Certificate == nil:
		return nil, "the key is there without its certificate"
	case len(bytes.TrimSpace(l.Certificate)) == 0:
		return nil, "its file is empty"
	}
	certs, err := ParseCertificates(l.Certificate)
	if err != nil {
		return nil, err.Error()
	}
	cert = certs[0]
	switch {
	case l.Key == nil:
		return cert, "it is there without its key"
	case len(bytes.TrimSpace(l.Key)) == 0:
		return cert, "the file of its key is empty"
	}
	key, err := ParseKey(l.Key)
	switch {
	case err != nil:
		return cert, err.Error()
	case !fits(key, cert.PublicKey):
		return cert, "the key does not fit it"
	case cert.IsCA:
		return cert, "it is an authority's"
	case len(l.Spec.Usages) == 0:
		return cert, ""
	}
	return cert, l.Spec.wrong(cert)
}

// wrong says in which respect a certificate is not what the spec asks for.
func (s Spec) wrong(cert *x509.Certificate) string {
	if what := s.differs(cert.Subject, cert.DNSNames, cert.IPAddresses); what != "" {
		return "its " + what + " changed"
	}
	usages := slices.Sorted(slices.Values(cert.ExtKeyUsage))
	if !slices.Equal(usages, s.extKeyUsage()) || len(cert.UnknownExtKeyUsage) > 0 {
		return "its usages changed"
	}
	return ""
}

// issuerOf is the authority's certificate that signed cert.
func issuerOf(cert *x509.Certificate, trusted []*x509.Certificate) *x509.Certificate {
	for _, ca := range trusted {
		if bytes.Equal(cert.RawIssuer, ca.RawSubject) && cert.CheckSignatureFrom(ca) == nil {
			return ca
		}
	}
	return nil
}

// renewAt is when a certificate should be renewed: after two thirds of its life, or of the life that it should have if that
// is shorter, and up to a twentieth more, so that nodes that were launched together do not renew together.
func renewAt(cert *x509.Certificate, life time.Duration, seed string) time.Time {
	if own := cert.NotAfter.Sub(cert.NotBefore); life <= 0 || own < life {
		life = own
	}
	share := 1.0
	if sum := sha256.Sum256([]byte(seed)); seed != "" {
		share = float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
	}
	return cert.NotBefore.Add(life*2/3 + time.Duration(share*float64(life/20)))
}

// left says how much of a certificate's life is left: "10 of 30 days left".
func left(cert *x509.Certificate, now time.Time) string {
	life, rest := cert.NotAfter.Sub(cert.NotBefore), cert.NotAfter.Sub(now)
	unit, name := time.Minute, "minutes"
	switch {
	case life >= 48*time.Hour:
		unit, name = 24*time.Hour, "days"
	case life >= 2*time.Hour:
		unit, name = time.Hour, "hours"
	}
	return fmt.Sprintf("%d of %d %s left", rest/unit, life/unit, name)
}
