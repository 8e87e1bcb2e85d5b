package pki

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/config"
	"rekindle/agent/status"
)

func TestBrought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, err := New(Kubernetes, "ECDSA-P256", year, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		older, err := New(Kubernetes, "ECDSA-P256", year, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		tokens := made(t, ServiceAccount)
		before := made(t, ServiceAccount)
		files := map[string][]byte{
			"file:/ca.crt":     append(older.CertificatePEM(), now.CertificatePEM()...), // the signer need not come first
			"file:/ca.key":     keyText(t, now),
			"file:/other.key":  keyText(t, tokens),
			"file:/sa.key":     keyText(t, tokens),
			"file:/sa.pub":     before.CertificatePEM(),
			"file:/garbage":    []byte("garbage"),
			"file:/single.crt": older.CertificatePEM(),
		}
		asked := map[string]int{}
		read := func(_ context.Context, ref string) ([]byte, error) {
			asked[ref]++
			data, ok := files[ref]
			if !ok {
				return nil, status.Fail(status.ReasonAssetMissing, "", errors.New(ref+": not there"))
			}
			return data, nil
		}
		records := newMemory()
		with := func(certificate, key config.Ref) *Brought {
			refs := config.AuthorityRefs{Certificate: certificate, Key: key}
			return &Brought{Refs: map[string]config.AuthorityRefs{Kubernetes: refs, ServiceAccount: refs}, Read: read, Next: testVault(records)}
		}
		a, err := with("file:/ca.crt", "file:/ca.key").Private(t.Context(), Kubernetes)
		if err != nil || a.Fingerprint() != now.Fingerprint() || len(a.Certificates) != 2 || !fits(a.Key, now.Key.Public()) {
			t.Errorf("kubernetes: %+v, error %v", a, err)
		}
		a, err = with("", "file:/sa.key").Private(t.Context(), ServiceAccount)
		if err != nil || len(a.Keys) != 1 || !fits(tokens.Key, a.Keys[0]) {
			t.Errorf("service-account: %+v, error %v", a, err)
		}
		a, err = with("file:/sa.pub", "file:/sa.key").Private(t.Context(), ServiceAccount)
		if err != nil || len(a.Keys) != 2 || !fits(tokens.Key, a.Keys[0]) || !fits(before.Key, a.Keys[1]) {
			t.Errorf("service-account with an older key: %+v, error %v", a, err)
		}
		clear(asked)
		a, err = with("file:/ca.crt", "file:/ca.key").Public(t.Context(), Kubernetes)
		if err != nil || a.Key != nil || asked["file:/ca.key"] != 0 || !bytes.Equal(a.CertificatePEM(), files["file:/ca.crt"]) {
			t.Errorf("public: %+v, asked %v, error %v", a, asked, err)
		}
		if len(records.puts) != 0 {
			t.Errorf("what was brought was written: %v", records.puts)
		}
		if a, err = with("", "").Private(t.Context(), Etcd); err != nil || a.Name != Etcd || len(records.puts) == 0 {
			t.Errorf("what was not brought: %+v, error %v", a, err)
		}
		if _, err = with("", "").Public(t.Context(), FrontProxy); !errors.Is(err, ErrAbsent) {
			t.Errorf("what nobody has: %v", err)
		}
		for name, test := range map[string]struct {
			certificate, key config.Ref
			want             string
			reason           status.Reason
		}{
			"no key":         {"file:/ca.crt", "", "pki.authorities.kubernetes: no key is referred to", status.ReasonPKIBlocked},
			"another key":    {"file:/ca.crt", "file:/other.key", "does not fit", status.ReasonPKIBlocked},
			"not its key":    {"file:/single.crt", "file:/ca.key", "does not fit", status.ReasonPKIBlocked},
			"no certificate": {"", "file:/ca.key", "none in it", status.ReasonPKIBlocked},
			"garbage":        {"file:/garbage", "file:/ca.key", "not PEM", status.ReasonPKIBlocked},
			"not there":      {"file:/nowhere", "file:/ca.key", "file:/nowhere: not there", status.ReasonAssetMissing},
		} {
			_, err := with(test.certificate, test.key).Private(t.Context(), Kubernetes)
			if reason, _ := status.ReasonOf(err); err == nil || !strings.Contains(err.Error(), test.want) || reason != test.reason {
				t.Errorf("%s: reason %s, error %v; want %s with %q", name, reason, err, test.reason, test.want)
			}
		}
		_, err = with("", "file:/ca.key").Public(t.Context(), Kubernetes)
		wantReason(t, err, status.ReasonPKIBlocked, "set `certificate`")
		time.Sleep(year + time.Hour)
		_, err = with("file:/ca.crt", "file:/ca.key").Private(t.Context(), Kubernetes)
		wantError(t, err, "expired at")
	})
}
