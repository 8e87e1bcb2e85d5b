package vpc

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// Link is how frames get from one instance to another. The zero Link loses none and delays none.
type Link struct {
	Loss   float64       // the share that is lost, 0 to 1
	Delay  time.Duration // that each takes
	Jitter time.Duration // more or less of it, evenly spread; frames may then overtake each other
	Cut    bool          // nothing passes, and nobody is told
}

// pair is a direction. A zero address stands for everybody that has no Link of its own.
type pair struct{ from, to netip.Addr }

// Shape says how frames get from one address to another from now on, in this direction only. The zero netip.Addr is everybody;
// the more is said of a direction the more it counts.
func (v *VPC) Shape(from, to netip.Addr, l Link) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.links[pair{from, to}] = l
}

// Between shapes both directions between two sets of instances.
func (v *VPC) Between(some, others []netip.Addr, l Link) {
	for _, a := range some {
		for _, b := range others {
			v.Shape(a, b, l)
			v.Shape(b, a, l)
		}
	}
}

// Mend forgets all that Shape and Between have said.
func (v *VPC) Mend() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.links)
}

// link is the one between two addresses. The caller holds mu.
func (v *VPC) link(from, to netip.Addr) Link {
	if len(v.links) == 0 {
		return Link{}
	}
	var any netip.Addr
	for _, p := range []pair{{from, to}, {from, any}, {any, to}, {any, any}} {
		if l, ok := v.links[p]; ok {
			return l
		}
	}
	return Link{}
}

// passes tells whether a frame is not lost, and how long it takes.
func (l Link) passes() (bool, time.Duration) {
	if l.Cut || l.Loss > 0 && rand.Float64() < l.Loss {
		return false, 0
	}
	delay := l.Delay
	if l.Jitter > 0 {
		delay += rand.N(2*l.Jitter) - l.Jitter
	}
	return true, max(delay, 0)
}
