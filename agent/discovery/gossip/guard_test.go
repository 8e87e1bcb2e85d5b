package gossip

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"rekindle/agent/discovery"
	"rekindle/agent/discovery/gossip/gossiptest"
)

// seal is a message as memberlist has it on the wire.
func seal(k Key, message, along []byte) []byte {
	block, _ := aes.NewCipher(k.Secret[:])
	gcm, _ := cipher.NewGCM(block)
	sealed := make([]byte, 1+nonceSize, 256)
	sealed[0] = sealVersion
	_, _ = rand.Read(sealed[1:])
	return gcm.Seal(sealed, sealed[1:], message, along)
}

func packet(k Key, label string, message []byte) []byte {
	data, _ := memberlist.AddLabelHeaderToPacket(seal(k, message, []byte(label)), label)
	return data
}

func stream(k Key, label string, message []byte) []byte {
	header := binary.BigEndian.AppendUint32([]byte{streamByte}, uint32(len(message)+sealOverhead))
	data, _ := memberlist.AddLabelHeaderToPacket(nil, label)
	return append(append(data, header...), seal(k, message, append(bytes.Clone(header), label...))...)
}

func TestPacketsRefused(t *testing.T) {
	ring := NewKeyring(time.Now())
	o, err := newOpener("one", ring)
	if err != nil {
		t.Fatal(err)
	}
	key := ring.Primary
	good := packet(key, "one", []byte("hello"))
	for i := range good[5:] {
		changed := bytes.Clone(good)
		changed[5+i] ^= 1
		if o.packet(changed) == "" {
			t.Errorf("byte %d may be changed", 5+i)
		}
	}
	padded := seal(key, []byte("hello"), []byte("one"))
	padded[0] = 0
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty": {nil, refusedLabel}, "plain": {[]byte("hello"), refusedLabel}, "cut label": {good[:3], refusedMalformed},
		"an empty label": {[]byte{labelByte, 0}, refusedMalformed}, "cut": {good[:20], refusedMalformed},
		"another label": {packet(key, "two", []byte("hello")), refusedLabel},
		"another key":   {packet(NewKeyring(time.Now()).Primary, "one", []byte("hello")), refusedKey},
		// The label is authenticated: whoever exchanges it needs the key.
		"our label on another's": {append([]byte("\xf4\x03one"), seal(key, []byte("hello"), []byte("two"))...), refusedKey},
		"an empty message":       {packet(key, "one", nil), refusedMalformed},
		"the old padding":        {append([]byte("\xf4\x03one"), padded...), refusedMalformed},
		"good":                   {good, ""}, "no label": {good[5:], refusedLabel},
	} {
		if got := o.packet(c.data); got != c.want {
			t.Errorf("%s: refused as %q, want %q", name, got, c.want)
		}
	}
	if got := o.packet(good); got != refusedReplayed {
		t.Errorf("once more: %q", got)
	}
	for range 2*manyNonces - 1 {
		o.nonce.again([nonceSize]byte(seal(key, nil, nil)[1:]))
	}
	if len(o.nonce.new) > manyNonces || len(o.nonce.old) > manyNonces {
		t.Error("the memory of nonces grows")
	}
}

func TestStreamsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		one := l.nodes(1, 1)[0]
		defer stop(one)
		dial := l.network.Transport(address(7))
		huge := stream(l.keys.Primary, l.cluster, []byte("x"))
		binary.BigEndian.PutUint32(huge[len(l.cluster)+3:], maxStreamBody+1)
		good := stream(l.keys.Primary, l.cluster, []byte{99})
		for name, c := range map[string]struct {
			data []byte
			want string
		}{
			"nothing": {nil, ""}, "good": {good, ""}, "the good one again": {good, refusedReplayed},
			"plain": {[]byte("GET / HTTP/1.1\r\n"), refusedLabel}, "one byte": {[]byte{labelByte}, refusedMalformed},
			"another label": {stream(l.keys.Primary, "two.example", []byte{99}), refusedLabel},
			"another key":   {stream(NewKeyring(time.Now()).Primary, l.cluster, []byte{99}), refusedKey},
			"huge":          {huge, refusedMalformed}, "cut": {good[:len(good)-1], refusedMalformed},
			"plain behind the label": {append([]byte("\xf4\x0bone.example"), "\x06hello"...), refusedMalformed},
		} {
			if name == "the good one again" {
				continue // it comes last, below
			}
			checkStream(t, one, dial, name, c.data, c.want)
		}
		checkStream(t, one, dial, "the good one again", good, refusedReplayed)

		// Somebody holds every slot and says nothing: joins wait until he is thrown out.
		var held []net.Conn
		for range streamSlots {
			c, err := dial.DialTimeout(address(1).String(), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, c)
		}
		o := l.options(2)
		two := l.start(o)
		defer stop(two)
		took := time.Now()
		for two.living() != instances(1, 2) && time.Since(took) < time.Minute {
			_, _ = two.Join(t.Context(), []Seed{{address(1), "static"}})
			time.Sleep(100 * time.Millisecond)
		}
		if time.Since(took) > 2*streamTimeout {
			t.Errorf("joined after %v", time.Since(took))
		}
		for _, c := range held {
			_ = c.Close()
		}
	})
}

func checkStream(t *testing.T, n *node, dial *gossiptest.Transport, name string, data []byte, want string) {
	t.Helper()
	before := map[string]uint64{}
	for _, reason := range refusedReasons {
		before[reason] = n.refusals(reason)
	}
	c, err := dial.DialTimeout(address(1).String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, c) }()
	_, _ = c.Write(data)
	time.Sleep(time.Second)
	_ = c.Close()
	time.Sleep(time.Second)
	for _, reason := range refusedReasons {
		got := n.refusals(reason) - before[reason]
		if wanted := map[bool]uint64{true: 1}[reason == want]; got != wanted {
			t.Errorf("%s: %d refused as %s, want %d", name, got, reason, wanted)
		}
	}
}

// TestReplay records every packet of a cluster in which a node changed its mind and another is about to leave, and sends
// all of them again once that one has left, at once and much later: nobody believes any.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		var mu sync.Mutex
		recorded := map[netip.AddrPort][][]byte{}
		recording := true
		l.network.Packet = func(_, to netip.AddrPort, data []byte) {
			mu.Lock()
			defer mu.Unlock()
			if recording {
				recorded[to] = append(recorded[to], bytes.Clone(data))
			}
		}
		all := l.nodes(1, 6)
		defer stop(all...)
		l.within(10*time.Second, all, "together", func(n *node) bool { return n.living() == instances(1, 6) })
		unhealthy := peer(2)
		unhealthy.API = discovery.Unhealthy
		if err := all[1].Update(unhealthy); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		mu.Lock()
		recording = false // what tells of the end would end again what the rest begins
		mu.Unlock()
		if err := all[2].Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		all[2].stop()
		time.Sleep(10 * time.Second)
		rest := append([]*node{all[0], all[1]}, all[3:]...)
		right := func(when string) {
			t.Helper()
			for _, n := range rest {
				p := n.Peers()
				if n.living() != "i-001 i-002 i-004 i-005 i-006" || p[1].API != discovery.Unhealthy {
					t.Errorf("%s: %s sees %s, API of 2 %s", when, n.self.peer.Instance, n.living(), p[1].API)
				}
			}
		}
		right("before")
		for _, wait := range []time.Duration{0, 5 * time.Minute, 30 * time.Minute} {
			time.Sleep(wait)
			for _, n := range rest { // as if they had forgotten the messages, but not what they said
				n.opener.nonce.mu.Lock()
				if wait > 0 {
					n.opener.nonce.new, n.opener.nonce.old = nil, nil
				}
				n.opener.nonce.mu.Unlock()
			}
			var before uint64
			for _, n := range rest {
				before += n.refusals(refusedReplayed)
			}
			for to, packets := range recorded {
				for _, data := range packets {
					l.network.Send(address(200), to, data)
				}
			}
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				right("replayed after " + wait.String())
			}
			var after uint64
			for _, n := range rest {
				after += n.refusals(refusedReplayed)
			}
			t.Logf("after %v: %d counted", wait, after-before)
			if after == before {
				t.Errorf("after %v: nothing was counted", wait)
			}
		}
	})
}

// FuzzPacket feeds a node with packets: as they come from strangers, and sealed, as from a node with a bug. It must live,
// and believe nothing of the strangers.
func FuzzPacket(f *testing.F) {
	network := &gossiptest.Network{}
	keys := NewKeyring(time.Now())
	at := address(1)
	g, err := Start(Options{
		Cluster: "one", Self: peer(1), Bind: at.Addr(), Keys: keys, Transport: network.Transport(at),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = g.Close() })
	f.Add(false, []byte("\xf4\x03one\x01"))
	f.Add(false, packet(keys.Primary, "one", []byte{8, 1}))
	for _, message := range []string{"\x00\x81\xa5SeqNo\x01", "\x07\x02\x00\x01\x00\x01\x08\x08", "\x09\x82\xa4Algo\x00\xa3Buf\xa1x", "\x0c1234\x08"} {
		f.Add(true, []byte(message))
	}
	f.Fuzz(func(t *testing.T, sealed bool, data []byte) {
		if sealed {
			data = packet(keys.Primary, "one", data)
		} else if g.opener.packet(bytes.Clone(data)) == "" {
			t.Skip("the fuzzer has the good seed")
		}
		network.Send(address(2), at, data)
		c, err := network.Transport(address(2)).DialTimeout(at.String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.Write(data)
		_ = c.Close()
		if all := g.Peers(); !sealed && len(all) != 1 {
			t.Fatalf("%d peers", len(all))
		}
	})
}
