package join

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"rekindle/agent/pki"
	"rekindle/agent/status"
)

// maxCandidates bounds the masters that are asked, whatever discovery says.
const maxCandidates = 64

// The pauses between rounds. A master that is gone is soon replaced; what a master refused changes in EC2, by people or
// by the minute.
const (
	firstPause, lastPause               = 250 * time.Millisecond, 15 * time.Second
	firstBusyPause, lastBusyPause       = time.Second, 15 * time.Second // on top of Retry-After
	firstRefusedPause, lastRefusedPause = 5 * time.Second, time.Minute
)

// seeker is one call of Join: what is asked for, and what became of it so far.
type seeker struct {
	*Client
	log      *slog.Logger
	roots    *x509.CertPool
	requests []pki.Request
	csrs     []*pki.CSR

	rounds   int
	known    []string         // masters, in the order of their rank for this instance
	failures map[string]int   // by master, in this call
	last     map[string]error // what each said, or did not, most recently
	own      *ownError        // what failed on this node in this round, so that nobody could be asked
	latest   string           // the master that was asked most recently
	told     string
	quiet    status.WaitFunc

	kind   string // of the last pause
	inARow int    // pauses of that kind
}

func (c *Client) newSeeker(roots []*x509.Certificate, requests []pki.Request) (*seeker, error) {
	s := &seeker{
		Client: c, log: c.Logger, roots: x509.NewCertPool(), requests: requests,
		failures: map[string]int{}, last: map[string]error{}, quiet: func() {},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, root := range roots {
		s.roots.AddCert(root)
	}
	for _, r := range requests {
		csr, err := pki.ParseCSR(r.CSR)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		s.csrs = append(s.csrs, csr)
	}
	return s, nil
}

// know ranks the masters by a hash of theirs and of this instance's name, so that each master is the first choice of as
// many nodes as any other, whatever order they are listed in.
func (s *seeker) know(masters []string) {
	var known []string
	for _, address := range masters {
		if _, _, err := net.SplitHostPort(address); err != nil {
			s.log.Warn("a master's address makes no sense", "master", address, "err", err)
			continue
		}
		known = append(known, address)
	}
	slices.SortFunc(known, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.rank(a), s.rank(b)), cmp.Compare(a, b))
	})
	known = slices.Compact(known)
	s.known = known[:min(len(known), maxCandidates)]
}

func (s *seeker) rank(address string) uint64 {
	sum := sha256.Sum256([]byte(s.Instance + "|" + address))
	return binary.BigEndian.Uint64(sum[:])
}

// order is the masters in the order in which they are asked: who failed least often first.
func (s *seeker) order() []string {
	return slices.SortedStableFunc(slices.Values(s.known), func(a, b string) int {
		return cmp.Compare(s.failures[a], s.failures[b])
	})
}

// failed remembers what a master did not do. What fails when ctx ends says nothing about the master.
func (s *seeker) failed(ctx context.Context, address string, err error) {
	if ctx.Err() != nil && s.last[address] != nil {
		return
	}
	s.failures[address]++
	s.last[address] = err
}

// pause is how long to wait after a round that ended with err. All pauses are spread: nodes that were launched together,
// or that lost a master together, must not come back together.
func (s *seeker) pause(err error) time.Duration {
	kind, least := kindOf(err)
	if kind != s.kind {
		s.kind, s.inARow = kind, 0
	}
	n := min(s.inARow, 16)
	s.inARow++
	switch kind {
	case busy:
		return least + rand.N(min(firstBusyPause<<n, lastBusyPause))
	case refusal4xx:
		d := min(firstRefusedPause<<n, lastRefusedPause)
		return max(least, d/2+rand.N(d/2))
	}
	return max(least, rand.N(min(firstPause<<n, lastPause)))
}
