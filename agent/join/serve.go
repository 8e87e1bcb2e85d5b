package join

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"rekindle/agent/pki"
)

// attempt is a request for certificates, as far as it was understood.
type attempt struct {
	from netip.Addr // of the connection: no header of a proxy is believed
	body Body
}

// judge is the whole decision, what costs least first. Nobody outside is asked before everything was checked that can be
// checked here.
func (s *Server) judge(ctx context.Context, a *attempt, w http.ResponseWriter, r *http.Request) ([]*x509.Certificate, error) {
	leave, err := s.gate.enter()
	if err != nil {
		return nil, err
	}
	defer leave()

	data, err := read(w, r)
	if err != nil {
		return nil, err
	}
	if a.body, err = decode(data); err != nil {
		return nil, err
	}
	if a.body.Cluster != s.o.Cluster {
		return nil, refuse(ForeignCluster, "cluster %q", a.body.Cluster)
	}
	if err := s.nonces.use(a.body.Nonce); err != nil {
		return nil, err
	}
	if err := known(a.body.Requests); err != nil {
		return nil, err
	}
	csrs, err := parseCSRs(a.body.Requests)
	if err != nil {
		return nil, err
	}
	proof, err := s.proofs.parse(r.Header.Values(ProofHeader), time.Now())
	if err != nil {
		return nil, err
	}

	done, err := s.gate.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	sum := sha256.Sum256(data)
	arn, err := s.identify(ctx, proof, bound{hex.EncodeToString(sum[:]), s.o.Cluster, a.body.Nonce})
	if err != nil {
		return nil, err
	}
	if err := s.admit(arn, a.body.Instance); err != nil {
		return nil, err
	}
	instance, err := s.member(ctx, a)
	if err != nil {
		return nil, err
	}
	specs, err := specs(a.body, csrs, instance, s.o.Life)
	if err != nil {
		return nil, err
	}
	return s.sign(ctx, specs, csrs)
}

// member checks with EC2 that the instance lives, belongs to the cluster, and is where the request comes from.
func (s *Server) member(ctx context.Context, a *attempt) (Instance, error) {
	i, found, err := s.lookups.find(ctx, a.body.Instance)
	switch {
	case err != nil:
		return Instance{}, err
	case !found || i.ID != a.body.Instance:
		return Instance{}, refuse(UnknownInstance, "EC2 does not know it, or not yet")
	case i.State != "running" && i.State != "pending": // a node that boots fast asks while EC2 still has it pending
		return Instance{}, refuse(NotRunning, "it is %s", i.State)
	}
	cluster, role, err := s.o.Tags(i.Tags)
	switch {
	case err != nil:
		return Instance{}, refuse(UntaggedCluster, "%w", err)
	case cluster != s.o.Cluster:
		return Instance{}, refuse(UntaggedCluster, "its tags say cluster %q", cluster)
	case !slices.Contains(s.o.Roles, role):
		return Instance{}, refuse(UntaggedRole, "its tags say role %q", role)
	case !i.among(a.from):
		return Instance{}, refuse(WrongAddress, "its addresses are %v and %v", i.Addresses, i.Public)
	}
	return i, nil
}

func (s *Server) sign(ctx context.Context, specs []pki.Spec, csrs []*pki.CSR) ([]*x509.Certificate, error) {
	authority, err := s.o.Authority(ctx)
	if err != nil {
		return nil, err
	}
	certificates := make([]*x509.Certificate, len(specs))
	for n, spec := range specs {
		if certificates[n], err = pki.Issue(authority, spec, csrs[n].Public, time.Now()); err != nil {
			return nil, err
		}
	}
	return certificates, nil
}

func (s *Server) serveNonce(w http.ResponseWriter, r *http.Request) {
	began, from := time.Now(), addressOf(r.RemoteAddr)
	if err := s.gate.visit(from, began); err != nil {
		s.refuse(w, &attempt{from: from}, began, err)
		return
	}
	write(w, http.StatusOK, Challenge{Version: Protocol, Nonce: s.nonces.issue(), Time: time.Now().UTC()})
}

func (s *Server) serveJoin(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), s.o.Limits.Deadline)
	defer cancel()
	a := &attempt{from: addressOf(r.RemoteAddr)}
	w.Header().Set("Connection", "close") // a node asks once in weeks, and others need the connection
	err := s.gate.visit(a.from, began)
	var certificates []*x509.Certificate
	if err == nil {
		certificates, err = s.judge(ctx, a, w, r)
	}
	if err != nil {
		s.refuse(w, a, began, err)
		return
	}
	answer := Certificates{Version: Protocol}
	var serials []string
	for _, c := range certificates {
		answer.Certificates = append(answer.Certificates, c.Raw)
		serials = append(serials, c.SerialNumber.Text(16))
	}
	took := time.Since(began)
	s.count(Granted, a, took)
	s.log.Info("join granted", "instance", a.body.Instance, "node", a.body.Node, "address", a.from, "cluster", s.o.Cluster,
		"serials", serials, "notAfter", certificates[0].NotAfter, "took", took.Round(time.Millisecond))
	write(w, http.StatusOK, answer)
}

// refuse answers, logs and counts. The log never has the proof, nor what STS said about it.
func (s *Server) refuse(w http.ResponseWriter, a *attempt, began time.Time, err error) {
	reason, why := reasonOf(err)
	s.count(reason, a, time.Since(began))
	s.tell(reason, why, a)
	if reason == Busy || reason == Unavailable {
		w.Header().Set("Retry-After", strconv.Itoa(s.gate.retryAfter()))
	}
	write(w, answers[reason].status, Refusal{Reason: reason, Message: answers[reason].message})
}

func (s *Server) count(reason Reason, a *attempt, took time.Duration) {
	s.o.Observe(reason, a.body.Instance, took)
}

// tell logs a refusal. Those for Busy, which are without number when it matters, are one line a second.
func (s *Server) tell(reason Reason, why error, a *attempt) {
	attrs := []any{"reason", string(reason), "instance", a.body.Instance, "address", a.from, "cluster", s.o.Cluster, "err", why}
	if reason == Busy {
		now, told := time.Now().Unix(), s.told.Load()
		if now == told || !s.told.CompareAndSwap(told, now) {
			s.busy.Add(1)
			return
		}
		attrs = append(attrs, "more", s.busy.Swap(0))
	}
	s.log.Warn("join refused", attrs...)
}

// write sends JSON. A node that is gone has nobody to tell it.
func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
