package pki

import (
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/plan"
)

// window is a stretch of the year, from its start.
type window struct{ from, to time.Duration }

func (w window) has(at time.Duration) bool { return at >= w.from && at < w.to }

func during(at time.Duration, windows ...window) bool {
	return slices.ContainsFunc(windows, func(w window) bool { return w.has(at) })
}

// yearNode is a node of the simulated cluster.
type yearNode struct {
	name    string
	plan    *plan.Plan
	disk    testDisk
	holder  *Holder
	phase   time.Duration // of its resync, within the hour
	off     []window
	issued  map[string][]time.Duration // when, by path
	warned  int
	running bool // it was resynced since it was switched on
}

const hour = time.Hour

// Nodes resync every ten minutes. Every hour takes a minute here, and finds nothing that every sixth does not.
var yearResync = flag.Duration("resync", 6*hour, "how often the nodes of TestYear resync; it divides a day")

// What goes wrong in the year.
var (
	// Nobody signs for minions: every fourth day for eight hours, once for three days and twice for longer than a week.
	yearNoJoin = []window{{25 * testDay, 28 * testDay}, {130 * testDay, 138 * testDay}, {300 * testDay, 308 * testDay}}
	// The store does not answer, or answers with errors: also when the new authority begins to sign.
	yearNoStore = []window{{40 * testDay, 41 * testDay}, {182*testDay - hour, 182*testDay + 7*hour}, {250 * testDay, 252 * testDay}}

	yearBegin, yearPromote, yearFinish = 180 * testDay, 182 * testDay, 213 * testDay
)

func newYear(t *testing.T, source *testSource) []*yearNode {
	var nodes []*yearNode
	add := func(name string, p *plan.Plan, off ...window) {
		node := &yearNode{name: name, plan: p, disk: testDisk{}, off: off, issued: map[string][]time.Duration{}}
		node.phase = time.Duration(len(nodes)) * 11 * time.Minute
		node.holder = &Holder{Source: source, Read: node.disk.read, Instance: name, Limit: 10 * time.Minute}
		nodes = append(nodes, node)
	}
	master := newMaster(t, source, minionPlan())
	add("i-0a", masterPlan())
	add("i-0b", masterPlan())
	add("i-1a", minionPlan())
	add("i-1b", minionPlan(), window{50 * testDay, 110 * testDay})
	add("i-1c", minionPlan(), window{175 * testDay, 235 * testDay}) // it sleeps through the whole rotation
	for _, node := range nodes[2:] {
		node.holder.Join = master
	}
	return nodes
}

// A year of two masters and three minions: whatever is away, no node that runs ever has a certificate that does not count,
// and everybody trusts everybody's, also while the authority is replaced.
func TestYear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newSource(t)
		nodes := newYear(t, source)
		master := nodes[2].holder.Join.(*testMaster)
		began := time.Now()
		old := source.authorities[Kubernetes]
		next := testAuthority(t, Kubernetes, 3650*testDay, began)
		checks := yearChecks{map[string]bool{}, map[string]string{}, map[string][]*x509.Certificate{}, map[string][]*x509.Certificate{}}
		for at := time.Duration(0); at < 365*testDay; at += *yearResync {
			switch at {
			case yearBegin:
				source.set(Kubernetes, &Authority{Name: Kubernetes, Key: old.Key, Certificates: both(old, next)})
			case yearPromote:
				source.set(Kubernetes, &Authority{Name: Kubernetes, Key: next.Key, Certificates: both(next, old)})
			case yearFinish:
				source.set(Kubernetes, next)
			}
			master.err, source.err = nil, nil
			if during(at, yearNoJoin...) || at%(4*testDay) >= 88*hour {
				master.err = errors.New("no master answers")
			}
			if during(at, yearNoStore...) {
				source.err = errors.New("503 Slow Down")
			}
			for _, node := range nodes {
				time.Sleep(time.Until(began.Add(at + node.phase)))
				node.resync(t, at)
			}
			checks.all(t, at, nodes)
			if t.Failed() {
				return
			}
		}
		for _, node := range nodes {
			node.count(t)
		}
		spread(t, nodes[2:])
	})
}

func (n *yearNode) resync(t *testing.T, at time.Duration) {
	if during(at, n.off...) {
		n.running = false
		return
	}
	held, warnings, err := n.holder.Hold(t.Context(), n.plan, false)
	if err != nil {
		if n.running {
			t.Errorf("day %d: %s: %v", at/testDay, n.name, err)
		}
		return // it has just been switched on, and tries again
	}
	n.running = true
	n.warned += len(warnings)
	before := maps.Clone(n.disk)
	n.disk.write(held)
	for _, cert := range n.plan.Certs {
		if string(before[cert.Path]) != string(n.disk[cert.Path]) {
			n.issued[cert.Path] = append(n.issued[cert.Path], at)
		}
	}
}

// yearChecks remembers what it has looked at: a year has many hours in which nothing changes.
type yearChecks struct {
	signed map[string]bool // by certificate and authority
	// By node: its disk, and what that holds.
	disks           map[string]string
	bundles, leaves map[string][]*x509.Certificate
}

// all looks at every certificate of every node that runs with the eyes of every other.
func (c *yearChecks) all(t *testing.T, at time.Duration, nodes []*yearNode) {
	for _, node := range nodes {
		if node.running {
			c.look(t, node)
		}
	}
	now := time.Now()
	for _, node := range nodes {
		if !node.running {
			continue
		}
		for i, cert := range c.leaves[node.name] {
			path := node.plan.Certs[i].Path
			if now.Before(cert.NotBefore) || !now.Before(cert.NotAfter) {
				t.Errorf("day %d: %s: %s does not count", at/testDay, node.name, path)
			}
			for _, other := range nodes {
				if other.running && !c.trusts(cert, c.bundles[other.name]) {
					t.Errorf("day %d: %s does not trust %s of %s", at/testDay, other.name, path, node.name)
				}
			}
		}
	}
}

// look reads a node's disk, if it has changed.
func (c *yearChecks) look(t *testing.T, node *yearNode) {
	var now strings.Builder
	for _, path := range slices.Sorted(maps.Keys(node.disk)) {
		now.Write(node.disk[path])
	}
	if c.disks[node.name] == now.String() {
		return
	}
	c.disks[node.name] = now.String()
	bundle, err := ParseCertificates(node.disk[node.plan.Authorities[0].Path])
	if err != nil {
		t.Fatal(err)
	}
	c.bundles[node.name], c.leaves[node.name] = bundle, nil
	for _, want := range node.plan.Certs {
		leaf := &heldLeaf{Cert: want}
		if err := leaf.load(node.disk.read); err != nil {
			t.Fatal(err)
		}
		cert := leaf.certificate(t)
		if key, err := ParseKey(leaf.Leaf.Key); err != nil || !fits(key, cert.PublicKey) {
			t.Errorf("%s: %s has another's key: %v", node.name, want.Path, err)
		}
		c.leaves[node.name] = append(c.leaves[node.name], cert)
	}
}

// trusts is issuerOf, remembered: a year has many pairs.
func (c *yearChecks) trusts(cert *x509.Certificate, bundle []*x509.Certificate) bool {
	return slices.ContainsFunc(bundle, func(ca *x509.Certificate) bool {
		key := string(cert.Signature) + string(ca.Signature)
		ok, known := c.signed[key]
		if !known {
			ok = issuerOf(cert, []*x509.Certificate{ca}) != nil
			c.signed[key] = ok
		}
		return ok
	})
}

// count compares how often a node's certificates were issued: every 20 to 21.5 days, later when nobody signs, once more for
// the new authority, and not while the node was off.
func (n *yearNode) count(t *testing.T) {
	least, most := 17, 19
	if len(n.off) > 0 {
		least, most = 14, 17
	}
	for path, times := range n.issued {
		if got := len(times) - 1; got < least || got > most {
			t.Errorf("%s: %s was renewed %d times, want %d to %d: days %v", n.name, path, got, least, most, days(times))
		}
		rotated := slices.ContainsFunc(times, window{yearPromote, yearPromote + 13*hour}.has)
		asleep := during(yearPromote, n.off...)
		if rotated == asleep {
			t.Errorf("%s: %s: renewed for the new authority: %v; days %v", n.name, path, rotated, days(times))
		}
	}
	if len(n.issued) != len(n.plan.Certs) {
		t.Errorf("%s: issued %v", n.name, n.issued)
	}
	if n.warned == 0 {
		t.Errorf("%s: a year without a warning, though store and masters were away", n.name)
	}
}

func days(times []time.Duration) string {
	var all []string
	for _, at := range times {
		all = append(all, fmt.Sprintf("%.1f", at.Hours()/24))
	}
	return strings.Join(all, " ")
}

// spread checks that nodes that were launched together do not renew together.
func spread(t *testing.T, nodes []*yearNode) {
	first := map[time.Duration]bool{}
	for _, node := range nodes {
		first[node.issued["/var/lib/kubelet/pki/kubelet.crt"][1]] = true
	}
	if len(first) != len(nodes) {
		t.Errorf("%d nodes renewed first at only %d different hours", len(nodes), len(first))
	}
}
