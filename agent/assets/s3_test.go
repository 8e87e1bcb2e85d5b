package assets

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"rekindle/agent/status"
)

func TestS3ThroughResetsAndErrors(t *testing.T) {
	server, client := newS3Server(t)
	files := map[string][]byte{"big": noise(1, 4*ChunkSize+1)}
	for i := range 20 {
		files[fmt.Sprintf("small/%d", i)] = noise(byte(i+2), 1000)
	}
	if _, err := Publish(t.Context(), PublishOptions{Dir: tree(t, files), Target: NewS3(client, "bucket", "p")}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	server.fault = func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		n++
		kind := n % 4
		mu.Unlock()
		switch kind {
		case 1:
			s3Fault(w, http.StatusServiceUnavailable, "SlowDown")
		case 2:
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write(make([]byte, 500))
			panic(http.ErrAbortHandler) // the connection is cut
		default:
			return false
		}
		return true
	}
	s := opened(t, Options{Sources: []Source{NewS3(client, "bucket", "p")}})
	if err := s.Prefetch(t.Context(), "."); err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		if !bytes.Equal(fetched(t, s, path), want) {
			t.Errorf("%s is not what was published", path)
		}
	}
}

func TestS3Denied(t *testing.T) {
	server, client := newS3Server(t)
	server.fault = func(w http.ResponseWriter, _ *http.Request) bool {
		s3Fault(w, http.StatusForbidden, "AccessDenied")
		return true
	}
	_, err := open(t, Options{Sources: []Source{NewS3(client, "bucket", "p")}})
	wantReason(t, err, status.ReasonStoreDenied, "s3://bucket/p", "AccessDenied", "s3:GetObject")
}

// A node whose clock is off, as after a start from a snapshot before NTP answers, reads the store all the same.
func TestS3ClockOff(t *testing.T) {
	for _, off := range []time.Duration{-16 * time.Hour, 20 * time.Minute} {
		server, client := newS3Server(t)
		if _, err := Publish(t.Context(), PublishOptions{Dir: tree(t, map[string][]byte{"a": noise(1, 10)}), Target: NewS3(client, "bucket", "p")}); err != nil {
			t.Fatal(err)
		}
		refused := 0
		server.fault = func(w http.ResponseWriter, r *http.Request) bool {
			now := time.Now().Add(off)
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
			if err == nil && signed.Sub(now).Abs() < 15*time.Minute {
				return false
			}
			refused++
			s3Fault(w, http.StatusForbidden, "RequestTimeTooSkewed")
			return true
		}
		s := opened(t, Options{Sources: []Source{NewS3(client, "bucket", "p")}})
		fetched(t, s, "a")
		if refused == 0 || refused > 2 {
			t.Errorf("off by %s: %d requests were refused", off, refused)
		}
	}
}
