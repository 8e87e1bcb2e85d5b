package vpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: network namespaces take root")
		return
	}
	Isolate()
	os.Exit(m.Run())
}

var (
	cidr = netip.MustParsePrefix("10.61.0.0/16")
	a, b = netip.MustParseAddr("10.61.0.10"), netip.MustParseAddr("10.61.16.11")
)

// two is a network with two instances, the second of which echoes what is sent to its port 7.
func two(t *testing.T) (*VPC, *Host, *Host) {
	t.Helper()
	v, err := New(cidr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	one, err := v.Attach(a)
	if err != nil {
		t.Fatal(err)
	}
	other, err := v.Attach(b)
	if err != nil {
		t.Fatal(err)
	}
	l, err := other.Listen(t.Context(), "tcp", b.String()+":7")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return v, one, other
}

// ask sends a line from an instance to the echo and waits for it.
func ask(t *testing.T, from *Host, limit time.Duration) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	start := time.Now()
	c, err := from.Dial(ctx, "tcp", b.String()+":7")
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(start.Add(limit))
	fmt.Fprintln(c, "hello")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("%q", line)
	}
	return time.Since(start), err
}

func TestInstancesReachEachOther(t *testing.T) {
	v, one, other := two(t)
	if _, err := ask(t, one, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	// From the gateway, and to it.
	c, err := net.DialTimeout("tcp", b.String()+":7", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	l, err := net.Listen("tcp", v.Gateway().String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c, err = one.Dial(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if sent, received := other.Traffic(); sent < 100 || received < 100 {
		t.Errorf("sent %d, received %d bytes", sent, received)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, one, time.Second); err == nil {
		t.Error("an instance that is gone answers")
	}
	if _, err := v.Attach(b); err != nil {
		t.Errorf("its address again: %v", err)
	}
}

// A process in the namespace has the metadata's address, a way out, and nothing of this machine's.
func TestProcessInNamespace(t *testing.T) {
	_, one, _ := two(t)
	l, err := one.ListenIMDS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := exec.Command("nsenter", "--net="+one.Namespace(), "--", "ip", "-o", "address").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"10.61.0.10/16", "169.254.169.254/32", "127.0.0.1/8"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %s:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "10.61.0.1/") {
		t.Errorf("the gateway's address:\n%s", out)
	}
}

func TestCutInOneDirection(t *testing.T) {
	v, one, _ := two(t)
	if _, err := ask(t, one, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct{ from, to netip.Addr }{{a, b}, {b, a}, {netip.Addr{}, b}, {a, netip.Addr{}}} {
		v.Shape(way.from, way.to, Link{Cut: true})
		if _, err := ask(t, one, 300*time.Millisecond); !timedOut(err) {
			t.Errorf("%v: %v", way, err)
		}
		v.Mend()
		if _, err := ask(t, one, 5*time.Second); err != nil {
			t.Errorf("%v, mended: %v", way, err)
		}
	}
	// What is said of two counts more than what is said of everybody.
	v.Shape(netip.Addr{}, netip.Addr{}, Link{Cut: true})
	v.Between([]netip.Addr{a}, []netip.Addr{b}, Link{})
	if _, err := ask(t, one, 5*time.Second); err != nil {
		t.Error(err)
	}
}

func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

func TestDelay(t *testing.T) {
	v, one, _ := two(t)
	v.Shape(a, b, Link{Delay: 60 * time.Millisecond, Jitter: 10 * time.Millisecond})
	took, err := ask(t, one, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	// The handshake's first packet and the line: two times one way. Not more is certain.
	if took < 100*time.Millisecond {
		t.Errorf("%s", took)
	}
}

// Of packets to a port that nobody hears, as many come as should.
func TestLoss(t *testing.T) {
	v, one, _ := two(t)
	if _, err := ask(t, one, 5*time.Second); err != nil {
		t.Fatal(err) // so that nobody has to ask for an address below
	}
	v.Shape(a, b, Link{Loss: 0.2})
	heard, err := net.ListenPacket("udp", v.Gateway().String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	v.Shape(a, v.Gateway(), Link{Loss: 0.2})
	c, err := one.Dial(t.Context(), "udp", heard.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const all = 2000
	came, packet := 0, make([]byte, 10)
	for range all {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_ = heard.SetReadDeadline(time.Now().Add(3 * time.Millisecond))
		if _, _, err := heard.ReadFrom(packet); err == nil {
			came++
		}
	}
	// 1600 is expected, with a standard deviation of 18.
	if came < 1450 || came > 1750 {
		t.Errorf("%d of %d came", came, all)
	}
}
