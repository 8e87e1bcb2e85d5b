// Package discovery is how the nodes of a cluster find each other.
//
// A node that boots knows nobody. What it begins with are seeds: the masters that said, in one record of the store, that
// they live and where. A seed is a hint, never a fact: whoever uses one finds out by connecting whether the master is
// still there, and by its certificate whether it is one.
//
// To add another source of masters (the peers of the last boot, tags, the configuration): a function that returns
// []Seed, like Seeds.
package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// SeedsKey is where the seeds lie in the store.
const SeedsKey = "discovery/seeds.json"

const (
	maxSeeds = 32                  // masters are three or five; the rest is the memory of rebuilt ones
	maxAge   = 30 * 24 * time.Hour // of a seed that nobody renews
	renewAge = time.Hour           // how old a master's own seed may be before it is written again
)

// Seed is a master that lives, or did when it announced itself.
type Seed struct {
	Instance  string       `json:"instance"`
	Addresses []netip.Addr `json:"addresses"` // best first; at least one
	// JoinPort is where its join server listens (package join); 0: it has none.
	JoinPort  int       `json:"joinPort,omitempty"`
	Announced time.Time `json:"announced"`
}

// check says what makes no sense about a seed.
func (s Seed) check() error {
	switch {
	case s.Instance == "":
		return errors.New("instance is empty")
	case len(s.Addresses) == 0:
		return fmt.Errorf("%s: no address", s.Instance)
	case s.JoinPort < 0 || s.JoinPort > 65535:
		return fmt.Errorf("%s: joinPort %d: must be 0 to 65535", s.Instance, s.JoinPort)
	}
	for _, address := range s.Addresses {
		if !address.IsValid() || address.IsUnspecified() || address.IsMulticast() || address.IsLinkLocalUnicast() {
			return fmt.Errorf("%s: address %q: not one that others can reach", s.Instance, address)
		}
	}
	return nil
}

// JoinAddresses are the "host:port" of the seeds that serve joins, in their order.
func JoinAddresses(seeds []Seed) []string {
	var all []string
	for _, s := range seeds {
		if s.JoinPort == 0 {
			continue
		}
		for _, address := range s.Addresses {
			all = append(all, net.JoinHostPort(address.String(), strconv.Itoa(s.JoinPort)))
		}
	}
	return all
}

// record is the content of SeedsKey. Fields are only ever added: masters of two versions write it during an upgrade.
type record struct {
	Seeds []Seed `json:"seeds"`
}

// parse reads a record, newest seed first, one per instance.
func parse(data []byte) ([]Seed, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", SeedsKey, err)
	}
	for _, s := range r.Seeds {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", SeedsKey, err)
		}
	}
	return tidy(r.Seeds), nil
}

// tidy sorts the newest first and keeps one seed per instance, and maxSeeds at most.
func tidy(seeds []Seed) []Seed {
	seeds = slices.Clone(seeds)
	slices.SortStableFunc(seeds, func(a, b Seed) int { return b.Announced.Compare(a.Announced) })
	seen := map[string]bool{}
	seeds = slices.DeleteFunc(seeds, func(s Seed) bool {
		again := seen[s.Instance]
		seen[s.Instance] = true
		return again
	})
	return seeds[:min(len(seeds), maxSeeds)]
}

func encode(seeds []Seed) ([]byte, error) {
	data, err := json.MarshalIndent(record{Seeds: seeds}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", SeedsKey, err)
	}
	return append(data, '\n'), nil
}
