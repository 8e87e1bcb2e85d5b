package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/status"
)

// at is so many seconds after the kill.
func at(s int) time.Time { return time.Unix(1_800_000_000, 0).Add(time.Duration(s) * time.Second) }

func span(name string, from, to int, steps ...*status.Span) *status.Span {
	return &status.Span{Name: name, Start: at(from), End: at(to), Steps: steps}
}

func TestSplit(t *testing.T) {
	boot := span("boot", 2, 30,
		span("fetch", 4, 12, span("etcd", 5, 12, span("etcd main: restore", 6, 11))),
		span("units", 13, 25, span("unit etcd-main.service", 15, 20)))
	spans, err := split(&status.Timeline{Root: boot}, at(0), at(1), at(19))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]time.Duration{
		total: 19 * time.Second, launch: time.Second, toRestore: 5 * time.Second, restoring: 5 * time.Second,
		toUnit: 4 * time.Second, starting: 4 * time.Second,
	}
	if diff := cmp.Diff(want, spans); diff != "" {
		t.Error(diff)
	}
	sum := time.Duration(0)
	for name, took := range spans {
		if name != total {
			sum += took
		}
	}
	if sum != spans[total] {
		t.Errorf("the parts are %s, the whole %s", sum, spans[total])
	}
	if _, err := split(&status.Timeline{Root: span("boot", 2, 30)}, at(0), at(1), at(19)); err == nil {
		t.Error("a boot that restored nothing is measured")
	}
}

func TestPartsOfTheRestore(t *testing.T) {
	const line = "2026-11-21T15:23:02.935Z INFO  etcd restored etcd=main backup=1/x-1 bytes=4096 fetch=1.5s deltas=20ms rewrite=3µs verify=0s sync=1m1s\n"
	s := sample{spans: map[string]time.Duration{}}
	if err := s.restore("etcd data\n" + line); err != nil {
		t.Fatal(err)
	}
	want := map[string]time.Duration{
		partName("fetch"): 1500 * time.Millisecond, partName("deltas"): 20 * time.Millisecond, partName("rewrite"): 3 * time.Microsecond,
		partName("verify"): 0, partName("sync"): 61 * time.Second,
	}
	if diff := cmp.Diff(want, s.spans); diff != "" {
		t.Error(diff)
	}
	for _, log := range []string{"", "etcd main\n", strings.ReplaceAll(line, "verify=0s ", ""), strings.ReplaceAll(line, "20ms", "20")} {
		if err := s.restore(log); err == nil {
			t.Errorf("%q is read as a restore", log)
		}
	}
}
