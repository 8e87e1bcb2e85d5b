package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

const first = `127.0.0.1 localhost
# 127.0.0.9 commented.lab.test
::1 localhost
nonsense here.lab.test
127.61.0.4	i-1.main.etcd.internal.demo  I-1.Events.etcd.internal.demo # its name
fd00::4 i-1.main.etcd.internal.demo
`

func TestResolver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	r := resolver(path)
	if _, err := r.LookupHost(t.Context(), "i-1.main.etcd.internal.demo"); err == nil || isNotFound(err) {
		t.Errorf("a file that is not there: %v", err)
	}
	for _, step := range []struct {
		file string
		want map[string][]string
	}{
		{first, map[string][]string{
			"i-1.main.etcd.internal.demo":   {"127.61.0.4", "fd00::4"},
			"I-1.main.etcd.internal.demo.":  {"127.61.0.4", "fd00::4"},
			"i-1.events.etcd.internal.demo": {"127.61.0.4"},
			"i-2.main.etcd.internal.demo":   nil,
			"commented.lab.test":            nil,
			"here.lab.test":                 nil,
			"main.etcd.internal.demo":       nil,
			"www.example.com":               nil,
		}},
		// The member moved to another address, and another came.
		{"127.61.0.5 i-1.main.etcd.internal.demo\n127.61.16.4 i-2.main.etcd.internal.demo\n", map[string][]string{
			"i-1.main.etcd.internal.demo":   {"127.61.0.5"},
			"i-2.main.etcd.internal.demo":   {"127.61.16.4"},
			"i-1.events.etcd.internal.demo": nil,
		}},
	} {
		if err := os.WriteFile(path, []byte(step.file), 0o644); err != nil {
			t.Fatal(err)
		}
		for name, want := range step.want {
			got, err := r.LookupHost(t.Context(), name)
			slices.Sort(got)
			if !slices.Equal(got, want) || isNotFound(err) != (want == nil) {
				t.Errorf("%s: %q, %v; want %q", name, got, err, want)
			}
		}
	}
}

// TestResolverConcurrently asks from many sides while the file is written in place, as the agent does.
func TestResolverConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte(first), 0o644); err != nil {
		t.Fatal(err)
	}
	r := resolver(path)
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for range 20 {
				got, err := r.LookupHost(t.Context(), "i-1.events.etcd.internal.demo")
				if err != nil && !isNotFound(err) || err == nil && !slices.Equal(got, []string{"127.61.0.4"}) {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	for range 20 {
		if err := os.WriteFile(path, []byte(first), 0o644); err != nil { // empty for a moment
			t.Error(err)
		}
	}
	asking.Wait()
}

func isNotFound(err error) bool {
	failed, ok := errors.AsType[*net.DNSError](err)
	return ok && failed.IsNotFound
}
