package join

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rekindle/agent/status"
)

func TestClientJoins(t *testing.T) {
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{clock: 3 * time.Hour})
		want := time.Now().Add(3 * time.Hour).Format(time.RFC3339)
		m.refuse = func(r *http.Request, b Body) *refused {
			if !strings.HasSuffix(r.Header.Get(ProofHeader), "|"+want) {
				t.Errorf("signed as %q, want the master's clock, %s", r.Header.Get(ProofHeader), want)
			}
			if b.Version != Protocol || b.Cluster != clientCluster || b.Instance != clientInstance || b.Node != clientInstance {
				t.Errorf("body %+v", b)
			}
			return nil
		}
		if took := s.mustJoin(t, time.Minute); took > time.Millisecond {
			t.Errorf("took %v", took)
		}
		if seen := s.waits.seen; len(seen) != 1 || seen[0] != "join: a master's answer: one of the masters" {
			t.Errorf("waits: %q", seen)
		}
		if certificates, err := s.client.Join(t.Context(), s.authority.Certificates, nil); certificates != nil || err != nil {
			t.Errorf("nothing asked for: %v, %v", certificates, err)
		}
	})
}

func TestClientCannotProve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		m := s.add(t, "10.0.0.4:3988", &fakeMaster{})
		s.add(t, "10.0.0.5:3988", m)
		for _, c := range []struct {
			prove  func() (string, error)
			reason status.Reason
			words  string
		}{
			{func() (string, error) {
				return "", status.Fail(status.ReasonCredentials, "attach a profile", errors.New("no role"))
			}, status.ReasonCredentials, "proof: no role (attach a profile)"},
			{func() (string, error) { return "", errors.New("no clock") }, status.ReasonJoinUnreached, "proof: no clock"},
			{func() (string, error) { return strings.Repeat("x", MaxProof+1), nil }, status.ReasonJoinUnreached, "at most 8192"},
		} {
			s.client.Prove = func(context.Context, map[string]string, time.Time) (string, error) { return c.prove() }
			s.mustFail(t, time.Minute, c.reason, c.words)
		}
		if m.joins.Load() > 0 {
			t.Error("a master was asked without a proof")
		}
	})
}

func TestClientInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "10.0.0.4:3988")
		s.put("10.0.0.4:3988", hole)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		began := time.Now()
		_, err := s.client.Join(ctx, s.authority.Certificates, s.requests)
		if reason, _ := status.Explain(err); reason != status.ReasonInterrupted || time.Since(began) > 3*time.Second {
			t.Errorf("reason %s after %v: %v", reason, time.Since(began), err)
		}
	})
}

func TestClientHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "10.0.0.4:3988")
		began := time.Now()
		_, err := s.client.Join(t.Context(), s.authority.Certificates, s.requests)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != joinLimit {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if n := len(s.dialed); n < 60 || n > 400 {
			t.Errorf("%d connections in %v", n, joinLimit)
		}
		if !strings.Contains(err.Error(), "10.0.0.4:3988: connect: connect: connection refused") {
			t.Errorf("error: %v", err)
		}
	})
}

func TestClientBadRequest(t *testing.T) {
	s := newScene(t, "10.0.0.4:3988")
	s.requests[0].CSR = []byte("no CSR")
	if _, _, err := s.join(t, time.Minute); err == nil || !strings.Contains(err.Error(), "join: kubelet-client: CSR") {
		t.Errorf("error %v", err)
	}
}
