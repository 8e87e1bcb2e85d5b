package aws

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/status"
)

func TestIMDSReadsWithOneToken(t *testing.T) {
	clearIMDSEnv(t)
	f, m := newFake(map[string]string{
		"meta-data/mac": "02:ec:0a:00:00:01", "user-data": "a: b", "dynamic/instance-identity/document": "{}",
		"meta-data/tags/instance/rekindle:role": "minion",
	})
	for key, want := range f.values {
		if got, err := m.Get(t.Context(), key); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	if n := f.count("PUT api/token"); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
	if m.Requests() != 5 {
		t.Errorf("%d requests counted, want 5", m.Requests())
	}
}

func TestIMDSIsWaitedFor(t *testing.T) {
	clearIMDSEnv(t)
	for name, failure := range map[string]error{"refused": syscall.ECONNREFUSED, "reset": syscall.ECONNRESET, "EOF": io.EOF} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, m := newFake(map[string]string{"user-data": "x"})
				start, w := time.Now(), new(waits)
				f.before = func(*http.Request) (*http.Response, error) {
					if time.Since(start) < 10*time.Second {
						return nil, failure
					}
					return nil, nil
				}
				data, err := m.Get(status.WithWaits(t.Context(), w), "user-data")
				if string(data) != "x" || err != nil {
					t.Fatalf("%q, %v", data, err)
				}
				if took := time.Since(start); took > 12*time.Second {
					t.Errorf("found after %s, 10 s late", took)
				}
				if len(w.names) != 1 || w.names[0] != "imds" || w.open != 0 {
					t.Errorf("waits: %+v", w)
				}
			})
		})
	}
}

func TestIMDSThatNeverComes(t *testing.T) {
	clearIMDSEnv(t)
	synctest.Test(t, func(t *testing.T) {
		f, m := newFake(nil)
		f.before = func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }
		start := time.Now()
		_, err := m.Get(t.Context(), "meta-data/mac")
		wantReason(t, err, status.ReasonIMDSUnreached, "meta-data/mac", "connection refused", "attempts")
		if took := time.Since(start); took != imdsTimeout {
			t.Errorf("gave up after %s, want %s", took, imdsTimeout)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is not a deadline", err)
		}
	})
}

func TestIMDSStopsWithTheCaller(t *testing.T) {
	clearIMDSEnv(t)
	synctest.Test(t, func(t *testing.T) {
		f, m := newFake(nil)
		f.before = func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		if _, err := m.Get(ctx, "user-data"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

func TestTokenExpiresMidBoot(t *testing.T) {
	clearIMDSEnv(t)
	synctest.Test(t, func(t *testing.T) {
		f, m := newFake(map[string]string{"meta-data/mac": "x"})
		for range 3 {
			if _, err := m.Get(t.Context(), "meta-data/mac"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * time.Minute)
		}
		if n := f.count("PUT api/token"); n != 3 {
			t.Errorf("%d tokens, want 3", n)
		}
	})
}

func TestTokenIsRefused(t *testing.T) {
	clearIMDSEnv(t)
	synctest.Test(t, func(t *testing.T) {
		f, m := newFake(map[string]string{"meta-data/mac": "x"})
		if _, err := m.Get(t.Context(), "meta-data/mac"); err != nil {
			t.Fatal(err)
		}
		f.issued = nil // IMDS restarted
		start := time.Now()
		if _, err := m.Get(t.Context(), "meta-data/mac"); err != nil {
			t.Fatal(err)
		}
		if f.count("PUT api/token") != 2 || time.Since(start) != 0 {
			t.Errorf("%v in %s", f.seen, time.Since(start))
		}
	})
}

func TestHopLimit(t *testing.T) {
	clearIMDSEnv(t)
	synctest.Test(t, func(t *testing.T) {
		f, m := newFake(nil)
		f.before = func(req *http.Request) (*http.Response, error) { return hang(req, true) }
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		_, err := m.Get(ctx, "user-data")
		wantReason(t, err, status.ReasonIMDSUnreached, "HttpPutResponseHopLimit", "--http-put-response-hop-limit 2")
		if f.count("PUT api/token") < 5 {
			t.Errorf("only %v", f.seen)
		}
	})
}

// An attempt that the deadline cuts short knows less than those before it.
func TestLastAttemptIsNoWitness(t *testing.T) {
	clearIMDSEnv(t)
	synctest.Test(t, func(t *testing.T) {
		f, m := newFake(nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		end, _ := ctx.Deadline()
		f.before = func(req *http.Request) (*http.Response, error) {
			whole := time.Until(end) >= imdsAttempt
			return hang(req, whole) // the last one does not even connect
		}
		_, err := m.Get(ctx, "user-data")
		wantReason(t, err, status.ReasonIMDSUnreached, "HttpPutResponseHopLimit")
	})
}

func TestBlackHoleIsNotTheHopLimit(t *testing.T) {
	clearIMDSEnv(t)
	synctest.Test(t, func(t *testing.T) {
		f, m := newFake(nil)
		f.before = func(req *http.Request) (*http.Response, error) { return hang(req, false) }
		_, err := m.Get(t.Context(), "user-data")
		wantReason(t, err, status.ReasonIMDSUnreached, "firewall")
		if strings.Contains(err.Error(), "HopLimit") {
			t.Error(err)
		}
	})
}

func TestIMDSTurnedOff(t *testing.T) {
	clearIMDSEnv(t)
	synctest.Test(t, func(t *testing.T) {
		f, m := newFake(nil)
		f.before = func(req *http.Request) (*http.Response, error) { return answer(req, 403, ""), nil }
		start := time.Now()
		_, err := m.Get(t.Context(), "user-data")
		wantReason(t, err, status.ReasonIMDSUnreached, "--http-endpoint enabled")
		if time.Since(start) != 0 || len(f.seen) != 1 {
			t.Errorf("retried for %s: %v", time.Since(start), f.seen)
		}
	})
}

func TestNeverVersionOne(t *testing.T) {
	clearIMDSEnv(t)
	for _, code := range []int{404, 405, 500} {
		synctest.Test(t, func(t *testing.T) {
			f, m := newFake(map[string]string{"user-data": "secret"})
			f.before = func(req *http.Request) (*http.Response, error) {
				if req.Method == http.MethodPut {
					return answer(req, code, ""), nil
				}
				return answer(req, 200, "from version 1"), nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if data, err := m.Get(ctx, "user-data"); err == nil {
				t.Errorf("%d: %q", code, data)
			}
			if f.count("GET user-data") != 0 {
				t.Errorf("%d: asked without a token", code)
			}
		})
	}
}

func TestMissingKeyIsAskedForOnce(t *testing.T) {
	clearIMDSEnv(t)
	f, m := newFake(nil)
	if _, err := m.Get(t.Context(), "meta-data/public-ipv4"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if n := f.count("GET meta-data/public-ipv4"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestServerErrorsAreRetried(t *testing.T) {
	clearIMDSEnv(t)
	for _, code := range []int{429, 500, 503} {
		synctest.Test(t, func(t *testing.T) {
			f, m := newFake(map[string]string{"meta-data/mac": "x"})
			failures := 3
			f.before = func(req *http.Request) (*http.Response, error) {
				if req.Method == http.MethodGet && failures > 0 {
					failures--
					return answer(req, code, ""), nil
				}
				return nil, nil
			}
			if _, err := m.Get(t.Context(), "meta-data/mac"); err != nil {
				t.Errorf("%d: %v", code, err)
			}
		})
	}
}

func TestIPv6WhereIPv4CannotBeReached(t *testing.T) {
	clearIMDSEnv(t)
	f := &fakeIMDS{values: map[string]string{"meta-data/mac": "x", "user-data": "y"}}
	var hosts []string
	f.before = func(req *http.Request) (*http.Response, error) {
		hosts = append(hosts, req.URL.Host)
		if req.URL.Host == "169.254.169.254" {
			return nil, syscall.ENETUNREACH
		}
		return nil, nil
	}
	m := NewIMDS(IMDSOptions{Transport: f})
	for _, key := range []string{"meta-data/mac", "user-data"} {
		if _, err := m.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	// One attempt at IPv4, then token and two values over IPv6.
	if got := strings.Join(hosts, " "); got != "169.254.169.254"+strings.Repeat(" [fd00:ec2::254]", 3) {
		t.Error(got)
	}
}

func TestIMDSEndpoints(t *testing.T) {
	clearIMDSEnv(t)
	check := func(option, want string) {
		t.Helper()
		if got := strings.Join(imdsURLs(option), " "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	check("", imdsIPv4+" "+imdsIPv6)
	check("http://127.0.0.1:1", "http://127.0.0.1:1")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6")
	check("", imdsIPv6)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:2")
	check("", "http://127.0.0.1:2")
	check("http://127.0.0.1:1", "http://127.0.0.1:1")
}

func TestIMDSTurnedOffByTheEnvironment(t *testing.T) {
	clearIMDSEnv(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "TRUE")
	_, m := newFake(nil)
	_, err := m.Get(t.Context(), "user-data")
	wantReason(t, err, status.ReasonIMDSUnreached, "AWS_EC2_METADATA_DISABLED")
	if m.Requests() != 0 {
		t.Error("asked nevertheless")
	}
}

func TestIMDSUsesNoProxy(t *testing.T) {
	if imdsTransport().Proxy != nil {
		t.Error("IMDS would be asked through a proxy")
	}
	if newHTTPClient(time.Second).GetTransport().Proxy == nil {
		t.Error("services would not be asked through a proxy")
	}
}

func TestRoleThatComesLate(t *testing.T) {
	clearIMDSEnv(t)
	synctest.Test(t, func(t *testing.T) {
		f, m := newFake(map[string]string{})
		time.AfterFunc(5*time.Second, func() {
			f.mu.Lock()
			f.values["meta-data/iam/security-credentials/"] = "node"
			f.mu.Unlock()
		})
		w := new(waits)
		data, err := m.Get(t.Context(), "meta-data/iam/security-credentials/")
		if !errors.Is(err, ErrNotFound) {
			t.Fatalf("a plain read waits: %q, %v", data, err)
		}
		out, err := m.GetMetadata(status.WithWaits(t.Context(), w), roleList())
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := io.ReadAll(out.Content); string(text) != "node" {
			t.Errorf("%q", text)
		}
		if len(w.names) != 1 || w.names[0] != "imds: role" {
			t.Errorf("waits: %q", w.names)
		}
	})
}

func TestRoleThatIsMissing(t *testing.T) {
	clearIMDSEnv(t)
	synctest.Test(t, func(t *testing.T) {
		_, m := newFake(nil)
		for _, want := range []time.Duration{roleWait, 0} { // later calls must not wait again
			start := time.Now()
			if _, err := m.GetMetadata(t.Context(), roleList()); !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("waited %s, want %s", took, want)
			}
		}
	})
}
