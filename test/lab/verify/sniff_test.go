package verify

import (
	"net"
	"net/netip"
	"os"
	"testing"
)

func TestTablesShowAConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	remotes := map[string]netip.AddrPort{}
	readTable("/proc/self/net/tcp", remotes)
	for _, inode := range socketsOf(os.Getpid()) {
		if remotes[inode].String() == l.Addr().String() {
			return
		}
	}
	t.Errorf("no socket of this process has the remote address %s", l.Addr())
}
