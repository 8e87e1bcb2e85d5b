package region

import (
	"net"
	"slices"
	"testing"
)

// A network in which somebody listens is not taken, whichever port it is.
func TestClaim(t *testing.T) {
	for _, port := range []int{2379, 2380, 2381, 3988, 6443} {
		for _, kind := range []string{"tcp", "udp"} {
			first, l, err := claim(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			release := occupy(t, kind, first.address(17, port))
			second, l, err := claim(t.Context())
			release()
			if err != nil {
				t.Fatal(err)
			}
			if first == second {
				t.Errorf("%s is taken, although something listens on %s port %d", second.cidr, kind, port)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func occupy(t *testing.T, kind, address string) (release func()) {
	t.Helper()
	if kind == "udp" {
		c, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", address)
		if err != nil {
			t.Fatal(err)
		}
		return func() { c.Close() }
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return func() { l.Close() }
}

func TestListeners(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 04003D7F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41234 1 0000000000000000 100 0 0 10 0
   1: 04003D7F:D431 04003D7F:094B 01 00000000:00000000 02:000000E5 00000000     0        0 41240 2 0000000000000000 20 4 30 10 -1
   2: 0100007F:0F94 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41250 2 0000000000000000 0
   3: nonsense
`
	var got []string
	for _, a := range listeners(table) {
		got = append(got, a.String())
	}
	if want := []string{"127.61.0.4:2379", "127.0.0.1:3988"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
