package join

import (
	"crypto/rand"
	"crypto/x509"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/pki"
	"rekindle/agent/status"
)

func TestClientWaitsForTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		tagged := time.Now().Add(40 * time.Second)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{refuse: func(*http.Request, Body) *refused {
			if time.Now().Before(tagged) {
				return no(UntaggedCluster)
			}
			return nil
		}})
		if took := s.mustJoin(t, 5*time.Minute); took < 40*time.Second || took > 100*time.Second {
			t.Errorf("took %v; the tags came after 40 s", took)
		}
		if n := m.joins.Load(); n < 4 || n > 8 {
			t.Errorf("asked %d times", n)
		}
		want := "join: a master's answer: 10.0.0.4:3988: join: refused: UntaggedCluster: the instance's tags do not name this cluster " +
			"(tag the instance with"
		if seen := s.waits.seen; len(seen) != 2 || !strings.HasPrefix(seen[1], want) {
			t.Errorf("waits: %q", seen)
		}
		if n := strings.Count(s.log.String(), "no certificates yet"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, s.log)
		}
	})
}

func TestClientBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		var asked []time.Time
		s.add(t, "10.0.0.4:3988", &fakeMaster{refuse: func(*http.Request, Body) *refused {
			if asked = append(asked, time.Now()); len(asked) < 4 {
				r := no(Busy)
				r.after = 7 * time.Second
				return r
			}
			return nil
		}})
		s.mustJoin(t, 2*time.Minute)
		for i := 1; i < len(asked); i++ {
			if pause := asked[i].Sub(asked[i-1]); pause < 7*time.Second || pause > 12*time.Second {
				t.Errorf("pause %d is %v; the master asked for 7 s", i, pause)
			}
		}
		k, r := s.seeker(t), refusedBy(&http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"86400"}}},
			[]byte(`{"reason":"Busy"}`))
		if pause := k.pause(r); pause < maxRetryAfter || pause > maxRetryAfter+firstBusyPause {
			t.Errorf("a master that asks for a day gets %v", pause)
		}
	})
}

// TestClientUnavailable: a master that cannot reach AWS sends no node away from the others.
func TestClientUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		down := func(*http.Request, Body) *refused { return no(Unavailable) }
		masters := []string{"10.0.0.1:3988", "10.0.0.2:3988"}
		k := s.seeker(t)
		k.know(masters)
		one := s.add(t, k.known[0], &fakeMaster{refuse: down}) // the one that is asked first
		other := s.add(t, k.known[1], &fakeMaster{})
		if took := s.mustJoin(t, time.Minute); took > time.Millisecond || one.joins.Load() != 1 {
			t.Errorf("took %v, asked the first master %d times", took, one.joins.Load())
		}
		other.refuse = down
		before := one.joins.Load()
		s.mustFail(t, 3*time.Minute, status.ReasonJoinUnreached, "10.0.0.1:3988: join: refused: Unavailable", "ec2:DescribeInstances")
		if n := one.joins.Load() - before; n < 10 || n > 100 {
			t.Errorf("asked %d times in 3 minutes", n)
		}
	})
}

func TestClientRestartedMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{})
		m.refuse = func(*http.Request, Body) *refused {
			if m.joins.Load() < 3 {
				return no(BadNonce)
			}
			return nil
		}
		if took := s.mustJoin(t, time.Minute); took > time.Second {
			t.Errorf("took %v; the nonce is not the node's fault", took)
		}
	})
}

func TestClientEveryRefusalHasAHint(t *testing.T) {
	for reason, a := range answers {
		if reason == Granted {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			if hints[reason] == "" {
				t.Errorf("%s: no hint", reason)
			}
			s := newScene(t)
			s.add(t, "10.0.0.4:3988", &fakeMaster{refuse: func(*http.Request, Body) *refused { return no(reason) }})
			want := status.ReasonJoinRefused
			if a.status >= 429 || reason == BadNonce || reason == Replayed {
				want = status.ReasonJoinUnreached
			}
			s.mustFail(t, 10*time.Second, want, "10.0.0.4:3988", string(reason), a.message, hints[reason])
		})
	}
}

func TestClientUnknownReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.add(t, "10.0.0.4:3988", &fakeMaster{refuse: func(*http.Request, Body) *refused {
			return &refused{Refusal{"OfAnotherAge", "a\x1b[31mb\n" + strings.Repeat("x", 1000)}, 403, 0}
		}})
		s.mustFail(t, time.Minute, status.ReasonJoinRefused, "OfAnotherAge: a [31mb xxx", "xxx...")
	})
}

func TestClientUntrustedMasters(t *testing.T) {
	year := 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		cluster string
		signer  func(t *testing.T, s *scene) *pki.Authority
		words   []string
	}{
		"another cluster's name": {"other.example", func(_ *testing.T, s *scene) *pki.Authority { return s.authority },
			[]string{"join.internal.other.example", "seeds.json"}},
		"another authority": {clientCluster, func(t *testing.T, _ *scene) *pki.Authority { return freshAuthority(t, time.Now()) },
			[]string{"unknown authority", "seeds.json"}},
		"a clock in the past": {clientCluster, func(t *testing.T, s *scene) *pki.Authority {
			s.authority = freshAuthority(t, time.Now().Add(10*year))
			return s.authority
		}, []string{"not yet valid: this node's clock says 2000-01-01 00:00 UTC, and it counts from 20", "time synchronisation"}},
		"a clock in the future": {clientCluster, func(t *testing.T, s *scene) *pki.Authority {
			s.authority = freshAuthority(t, time.Now().Add(-10*year))
			return s.authority
		}, []string{"has expired: this node's clock says 2000-01-01 00:00 UTC", "time synchronisation"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, "10.0.0.4:3988")
				m := &fakeMaster{}
				s.serve(t, "10.0.0.4:3988", c.cluster, c.signer(t, s), m)
				s.mustFail(t, 5*time.Second, status.ReasonJoinUnreached, append(c.words, "10.0.0.4:3988: TLS: ")...)
				if m.nonces.Load() > 0 {
					t.Error("it was asked for a nonce")
				}
			})
		})
	}
}

func TestClientBadAnswers(t *testing.T) {
	foreign := func(b Body, n int) []byte { return signFor(freshAuthority(t, time.Now()), b.Requests[n]) }
	other := func(s *scene, change func(*pki.Spec)) []byte {
		csr, _ := pki.ParseCSR(s.requests[1].CSR)
		spec := pki.Spec{CommonName: csr.CommonName, Organizations: csr.Organizations, Names: csr.Names, Usages: []string{pki.Server}, Life: time.Hour}
		change(&spec)
		now := time.Now()
		if spec.Life < time.Hour {
			now = now.Add(-2 * time.Minute)
		}
		certificate, err := pki.Issue(s.authority, spec, csr.Public, now)
		if err != nil {
			t.Fatal(err)
		}
		return certificate.Raw
	}
	for name, c := range map[string]struct {
		change func(s *scene, b Body, a *Certificates)
		words  string
	}{
		"one too few":      {func(_ *scene, _ Body, a *Certificates) { a.Certificates = a.Certificates[:1] }, "1 certificates for 2"},
		"not DER":          {func(_ *scene, _ Body, a *Certificates) { a.Certificates[0] = []byte("x") }, "kubelet-client: x509"},
		"in another order": {func(_ *scene, _ Body, a *Certificates) { slices.Reverse(a.Certificates) }, "another key"},
		"another issuer":   {func(_ *scene, b Body, a *Certificates) { a.Certificates[1] = foreign(b, 1) }, "kubelet-serving: x509: certificate signed by unknown"},
		"another name": {func(s *scene, _ Body, a *Certificates) {
			a.Certificates[1] = other(s, func(p *pki.Spec) { p.CommonName = "system:node:i-2" })
		}, `it is for "system:node:i-2"`},
		"another organization": {func(s *scene, _ Body, a *Certificates) {
			a.Certificates[1] = other(s, func(p *pki.Spec) { p.Organizations = []string{"system:masters"} })
		}, "system:masters"},
		"fewer addresses": {func(s *scene, _ Body, a *Certificates) {
			a.Certificates[1] = other(s, func(p *pki.Spec) { p.Names = p.Names[:1] })
		}, "its names are"},
		"another usage": {func(s *scene, _ Body, a *Certificates) {
			a.Certificates[1] = other(s, func(p *pki.Spec) { p.Usages = []string{pki.Client} })
		}, "incompatible key usage"},
		"an authority of their own": {func(s *scene, _ Body, a *Certificates) {
			leaf, _ := x509.ParseCertificate(a.Certificates[0])
			leaf.IsCA, leaf.BasicConstraintsValid, leaf.KeyUsage = true, true, x509.KeyUsageCertSign
			der, err := x509.CreateCertificate(rand.Reader, leaf, s.authority.Certificates[0], leaf.PublicKey, s.authority.Key)
			if err != nil {
				t.Error(err)
			}
			a.Certificates[0] = der
		}, "it is an authority's"},
		"expired": {func(s *scene, _ Body, a *Certificates) {
			a.Certificates[1] = other(s, func(p *pki.Spec) { p.Life = time.Minute })
		}, "has expired: this node's clock says"},
		"the authority itself": {func(s *scene, _ Body, a *Certificates) { a.Certificates[0] = s.authority.Certificates[0].Raw }, "another key"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				m := s.add(t, "10.0.0.4:3988", &fakeMaster{})
				var body Body
				m.refuse = func(_ *http.Request, b Body) *refused { body = b; return nil }
				m.answer = func(a *Certificates) { c.change(s, body, a) }
				s.mustFail(t, 10*time.Second, status.ReasonJoinUnreached, "10.0.0.4:3988: its answer is of no use: ", c.words)
				s.add(t, "10.0.0.5:3988", &fakeMaster{}) // one bad master does not keep the node out
				s.mustJoin(t, 10*time.Second)
			})
		})
	}
}

func TestClientNotTheProtocol(t *testing.T) {
	text := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	challenge := func(change func(*Challenge)) *fakeMaster { return &fakeMaster{challenge: change} }
	for name, c := range map[string]struct {
		master *fakeMaster
		words  string
	}{
		"a page":           {&fakeMaster{raw: text(200, "<html>")}, "not JSON"},
		"an error page":    {&fakeMaster{raw: text(502, "<html>")}, "it answered 502, and not in this protocol"},
		"a redirect":       {&fakeMaster{raw: text(307, "")}, "it answered 307"},
		"without end":      {&fakeMaster{raw: text(200, strings.Repeat(" ", maxAnswer+10))}, "not JSON"},
		"a hang":           {&fakeMaster{raw: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}, "nonce: no answer in time"},
		"a cut connection": {&fakeMaster{raw: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}, "nonce: unexpected EOF"},
		"version 2":        {challenge(func(c *Challenge) { c.Version = 2 }), "version 2"},
		"no time":          {challenge(func(c *Challenge) { c.Time = time.Time{} }), "without the master's time"},
		"a bad nonce":      {challenge(func(c *Challenge) { c.Nonce = "a\r\nHost: b" }), "cannot be signed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				s.add(t, "10.0.0.4:3988", c.master)
				s.mustFail(t, 15*time.Second, status.ReasonJoinUnreached, "10.0.0.4:3988: nonce: ", c.words)
			})
		})
	}
}
