package vpc

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// What the switch reads of an Ethernet frame.
const (
	headerSize = 14
	typeIPv4   = 0x0800
	typeARP    = 0x0806
)

type mac [6]byte

// port is where an instance is plugged in.
type port struct {
	address        netip.Addr
	tap            *os.File
	sent, received atomic.Int64
}

// openTAP makes an interface in this thread's network namespace whose other end is a file.
func openTAP(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// forward hands on what a port sends, until it is closed.
func (v *VPC) forward(p *port) {
	buffer := make([]byte, mtu+headerSize+4)
	for {
		n, err := p.tap.Read(buffer)
		if err != nil {
			return
		}
		p.sent.Add(int64(n))
		if n >= headerSize {
			v.handOn(p, buffer[:n])
		}
	}
}

// handOn sends a frame to whom it is for, or to everybody where that is not known.
func (v *VPC) handOn(p *port, frame []byte) {
	from, to := addresses(frame)
	source := mac(frame[6:12])
	v.mu.RLock()
	known := v.byMAC[source] == p
	if receiver := v.byMAC[mac(frame[:6])]; receiver != nil {
		link := v.link(from, to)
		v.mu.RUnlock()
		if receiver != p {
			v.send(receiver, link, frame)
		}
	} else {
		type way struct {
			to   *port
			link Link
		}
		ways := make([]way, 0, len(v.ports))
		for address, q := range v.ports {
			if q != p && q.address == address {
				ways = append(ways, way{q, v.link(from, address)})
			}
		}
		v.mu.RUnlock()
		for _, w := range ways {
			v.send(w.to, w.link, frame)
		}
	}
	if !known {
		v.mu.Lock()
		v.byMAC[source] = p
		v.mu.Unlock()
	}
}

// send has a frame take a way.
func (v *VPC) send(to *port, l Link, frame []byte) {
	pass, delay := l.passes()
	switch {
	case !pass:
	case delay == 0:
		to.deliver(frame)
	default:
		v.late.add(late{due: time.Now().Add(delay), to: to, frame: append([]byte(nil), frame...)})
	}
}

// deliver gives a frame to an instance. One that cannot take it loses it, as on any network.
func (p *port) deliver(frame []byte) {
	if n, err := p.tap.Write(frame); err == nil {
		p.received.Add(int64(n))
	}
}

// addresses are the IPv4 addresses that a frame is from and to; of ARP the sender's and the target's. Zero: it has none.
func addresses(frame []byte) (from, to netip.Addr) {
	at := func(offset int) netip.Addr {
		if len(frame) < offset+4 {
			return netip.Addr{}
		}
		return netip.AddrFrom4([4]byte(frame[offset : offset+4]))
	}
	switch binary.BigEndian.Uint16(frame[12:14]) {
	case typeIPv4:
		return at(headerSize + 12), at(headerSize + 16)
	case typeARP:
		return at(headerSize + 14), at(headerSize + 24)
	}
	return from, to
}

// late is a frame under way.
type late struct {
	due   time.Time
	order uint64
	to    *port
	frame []byte
}

// delayLine delivers frames when they are due, those of one moment in the order of their coming.
type delayLine struct {
	mu    sync.Mutex
	queue lateQueue
	next  uint64
	wake  chan struct{}
	quit  chan struct{}
	done  chan struct{}
}

func newDelayLine() *delayLine {
	d := &delayLine{wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	go d.run()
	return d
}

func (d *delayLine) add(l late) {
	d.mu.Lock()
	l.order = d.next
	d.next++
	heap.Push(&d.queue, l)
	first := d.queue[0].order == l.order
	d.mu.Unlock()
	if !first {
		return
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *delayLine) run() {
	defer close(d.done)
	for {
		wait := time.Hour
		d.mu.Lock()
		for len(d.queue) > 0 {
			if wait = time.Until(d.queue[0].due); wait > 0 {
				break
			}
			l := heap.Pop(&d.queue).(late)
			d.mu.Unlock()
			l.to.deliver(l.frame)
			d.mu.Lock()
			wait = time.Hour
		}
		d.mu.Unlock()
		select {
		case <-d.quit:
			return
		case <-d.wake:
		case <-time.After(wait):
		}
	}
}

func (d *delayLine) close() {
	close(d.quit)
	<-d.done
}

// lateQueue is a heap (container/heap) of frames, the next one first.
type lateQueue []late

func (q lateQueue) Len() int { return len(q) }
func (q lateQueue) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].order < q[j].order
}
func (q lateQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *lateQueue) Push(x any)   { *q = append(*q, x.(late)) }
func (q *lateQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
