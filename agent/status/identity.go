package status

import (
	"maps"
	"slices"
	"time"

	"rekindle/agent/log"
)

// Authority is an authority of the cluster that the node holds: what it trusts, and on masters signs with.
type Authority struct {
	Name string `json:"name"`
	// Fingerprint is the SHA-256 of the signer's certificate, DER, in hexadecimal; of service-account, that of its public
	// key (PKIX).
	Fingerprint string    `json:"fingerprint"`
	NotAfter    time.Time `json:"notAfter,omitzero"` // a key pair has no end
	Rotating    bool      `json:"rotating"`          // two signers are trusted: the old one's certificates are being replaced
}

// The values of Certificate.By.
const (
	BySelf = "self" // a master signs its own certificates
	ByJoin = "join" // a master signed it for this node
)

// Certificate is a certificate of the plan that lies on the disk.
type Certificate struct {
	Path       string    `json:"path"`
	CommonName string    `json:"commonName"`
	Authority  string    `json:"authority"`
	NotAfter   time.Time `json:"notAfter"`
	RenewAfter time.Time `json:"renewAfter"` // from then on every resync tries to replace it
	By         string    `json:"by"`         // BySelf or ByJoin
}

// JoinServer is what a master's join server did since the agent started.
type JoinServer struct {
	Listen  string         `json:"listen"` // address and port; empty while it does not serve
	Granted int            `json:"granted"`
	Refused map[string]int `json:"refused"` // by reason
	Last    Refusal        `json:"lastRefusal,omitzero"`
}

// Refusal is a request that the join server did not grant.
type Refusal struct {
	Reason   string    `json:"reason"`
	Instance string    `json:"instance"` // which it said to be
	At       time.Time `json:"at"`
}

// SetAuthorities replaces the list of authorities.
func (b *Board) SetAuthorities(authorities []Authority) {
	b.update(func(s *Status) { s.Authorities = slices.Clone(authorities) })
}

// SetCertificates replaces the list of certificates.
func (b *Board) SetCertificates(certificates []Certificate) {
	b.update(func(s *Status) { s.Certificates = slices.Clone(certificates) })
}

// joinGranted is agent/join's reason for a request that was granted; all others are refusals.
const joinGranted = "Granted"

// instanceShown bounds what a stranger can put into the status: an instance ID has at most 19 characters.
const instanceShown = 32

// JoinServing says that the node's join server listens; a warning that it did not is gone.
func (b *Board) JoinServing(listen string) {
	b.update(func(s *Status) { s.joinServer().Listen = listen })
	b.Resolve(ReasonJoinOff)
}

// JoinOff says that the node's join server does not serve, and warns of err. Without err it is as it should be: the
// node has none (any more).
func (b *Board) JoinOff(err error) {
	if err == nil {
		b.update(func(s *Status) { s.Join = nil })
		b.Resolve(ReasonJoinOff)
		return
	}
	b.update(func(s *Status) { s.joinServer().Listen = "" })
	b.off(ReasonJoinOff, err)
}

// Joined counts a request to the join server, by the reason of its answer. Instance is which the node said to be.
func (b *Board) Joined(reason, instance string) {
	instance = bound(oneLine(log.Redact(instance)), instanceShown)
	b.update(func(s *Status) {
		server := s.joinServer()
		if reason == joinGranted {
			server.Granted++
			return
		}
		server.Refused[reason]++
		server.Last = Refusal{Reason: reason, Instance: instance, At: time.Now()}
	})
}

func (s *Status) joinServer() *JoinServer {
	if s.Join == nil {
		s.Join = &JoinServer{Refused: map[string]int{}}
	}
	return s.Join
}

// clone is a copy that does not change any more.
func (j *JoinServer) clone() *JoinServer {
	if j == nil {
		return nil
	}
	c := *j
	c.Refused = maps.Clone(j.Refused)
	return &c
}
