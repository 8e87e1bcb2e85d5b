package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"rekindle/agent"
	"rekindle/agent/discovery/gossip"
	"rekindle/agent/store"
)

// TestVerbsAreDocumented sees the flags of `rekindle gossip` alone, which has none: these are its own verbs'.
func TestGossipVerbsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/verbs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## gossip\n")
	section, _, _ = strings.Cut(section, "\n## ")
	command, _, err := root(io.Discard, io.Discard).Find([]string{"gossip"})
	if err != nil || len(command.Commands()) != 2 {
		t.Fatalf("%d verbs, error %v", len(command.Commands()), err)
	}
	for _, verb := range command.Commands() {
		if !strings.Contains(section, "`gossip "+verb.Name()) {
			t.Errorf("docs/verbs.md does not explain gossip %s", verb.Name())
		}
		verb.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
			if !strings.Contains(section, "`--"+flag.Name) {
				t.Errorf("docs/verbs.md does not explain gossip %s --%s", verb.Name(), flag.Name)
			}
		})
	}
}

func TestGossipUsage(t *testing.T) {
	place := "dir://" + t.TempDir()
	for _, args := range [][]string{
		{"nonsense"}, {"keys", "x"}, {"keys", "--format", "xml", "--store", place}, {"keys", "--store", "ftp://x"},
		{"keys", "--region", "eu-central-1"}, {"rotate", "--path-style"}, {"rotate", "x", "--store", place},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var stderr strings.Builder
			command := root(io.Discard, &stderr)
			command.SetArgs(slices.Concat([]string{"gossip"}, args, []string{"--root", t.TempDir()}))
			if got := code(&stderr, command.ExecuteContext(t.Context())); got != exitUsage || stderr.Len() == 0 {
				t.Errorf("exit code %d, want 2; it said %q", got, stderr.String())
			}
		})
	}
}

// disputed is a store whose writes end as conflicts: carried out, with the answer lost, or not.
type disputed struct {
	store.Store
	lost bool
}

func (d disputed) Put(ctx context.Context, key string, data []byte, was store.Version) (store.Version, error) {
	if d.lost {
		if _, err := d.Store.Put(ctx, key, data, was); err != nil {
			return "", err
		}
	}
	return "", store.ErrConflict
}

// A conflict is looked into: it may be with the write itself, whose answer was lost.
func TestGossipRotateMeetsAnotherWriter(t *testing.T) {
	for name, lost := range map[string]bool{"its own": true, "somebody else": false} {
		t.Run(name, func(t *testing.T) {
			records := store.NewDir(t.TempDir())
			ring, version, err := gossip.EnsureKeyring(t.Context(), records)
			if err != nil {
				t.Fatal(err)
			}
			d := &keysDesk{&agent.Keys{Place: "here", Store: disputed{records, lost}, Ring: ring, Version: version}}
			var out bytes.Buffer
			err = d.rotate(t.Context(), true, &out)
			now, _, again := gossip.ReadKeyring(t.Context(), records)
			if again != nil {
				t.Fatal(again)
			}
			if (err == nil) != lost || strings.Contains(out.String(), "added: key ") != lost || (len(now.Others) == 1) != lost {
				t.Errorf("error %v, %d keys besides; it said\n%s", err, len(now.Others), out.String())
			}
			if code := new(exit); errors.As(err, code) {
				t.Errorf("exit code %d, want 1", code.code)
			}
		})
	}
}

// Whatever is printed, no secret is.
func TestGossipKeysHoldNoSecret(t *testing.T) {
	ring, err := gossip.NewKeyring(time.Now()).Rotate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	list := (&keysDesk{&agent.Keys{Place: "here", Ring: ring}}).list()
	var out bytes.Buffer
	if err := list.print(&out); err != nil {
		t.Fatal(err)
	}
	if err := printJSON(&out, list); err != nil {
		t.Fatal(err)
	}
	for _, key := range append(ring.Others, ring.Primary) {
		if !strings.Contains(out.String(), key.ID) {
			t.Errorf("key %s is missing", key.ID)
		}
		if strings.Contains(out.String(), base64.StdEncoding.EncodeToString(key.Secret[:])) {
			t.Errorf("the secret of key %s is printed", key.ID)
		}
	}
}
