package verify

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"rekindle/agent/host"
	"rekindle/test/lab/region"
)

// sampleInterval is how often the sockets are looked at. A connection that lives shorter than that may go unseen.
const sampleInterval = 50 * time.Millisecond

// Sniffer watches where the processes of a region's nodes connect to.
type Sniffer struct {
	region *region.Region
	stop   chan struct{}
	done   sync.WaitGroup

	mu      sync.Mutex
	samples int
	sockets map[string]bool // inodes
	outside map[string]bool // "PID 17 (kubelet) to 192.0.2.1:443"
}

// Sniff starts to watch. Close ends it.
func Sniff(r *region.Region) *Sniffer {
	s := &Sniffer{region: r, stop: make(chan struct{}), sockets: map[string]bool{}, outside: map[string]bool{}}
	s.done.Go(func() {
		for {
			s.sample()
			select {
			case <-s.stop:
				return
			case <-time.After(sampleInterval):
			}
		}
	})
	return s
}

// Close ends the watching.
func (s *Sniffer) Close() {
	close(s.stop)
	s.done.Wait()
}

// Seen says how often it looked, how many sockets it saw, and which connections left the machine.
func (s *Sniffer) Seen() (samples, sockets int, outside map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.samples, len(s.sockets), maps.Clone(s.outside)
}

func (s *Sniffer) sample() {
	remotes := map[string]netip.AddrPort{} // by inode
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		readTable("/proc/self/net/"+table, remotes)
	}
	running := processes()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples++
	for _, n := range s.region.Nodes() {
		for _, pid := range append(running[n.Root], n.PID()) {
			if pid == 0 {
				continue
			}
			for _, inode := range socketsOf(pid) {
				remote, ok := remotes[inode]
				if !ok {
					continue // a unix socket, or younger than the tables
				}
				s.sockets[inode] = true
				if a := remote.Addr().Unmap(); !a.IsLoopback() && !a.IsUnspecified() {
					comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) //nolint:errcheck // a name for people
					s.outside[fmt.Sprintf("%s of %s to %s", strings.TrimSpace(string(comm)), n.ID, remote)] = true
				}
			}
		}
	}
}

// processes are the PIDs of all nodes' units, by the node's root: /proc is walked once for all of them.
func processes() map[string][]int {
	marker := []byte(host.RootEnv + "=")
	all := map[string][]int{}
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return all
	}
	for _, path := range found {
		environ, err := os.ReadFile(path)
		if err != nil {
			continue // another user's, or gone
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		for variable := range bytes.SplitSeq(environ, []byte{0}) {
			if root, ok := bytes.CutPrefix(variable, marker); ok {
				all[string(root)] = append(all[string(root)], pid)
			}
		}
	}
	return all
}

func socketsOf(pid int) []string {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // gone
	}
	var inodes []string
	for _, e := range entries {
		link, err := os.Readlink(dir + "/" + e.Name())
		if inode, ok := strings.CutPrefix(link, "socket:["); ok && err == nil {
			inodes = append(inodes, strings.TrimSuffix(inode, "]"))
		}
	}
	return inodes
}

// readTable reads the remote addresses of a table of proc_net_tcp(5): columns 3 and 10.
func readTable(path string, into map[string]netip.AddrPort) {
	f, err := os.Open(path)
	if err != nil {
		return // no IPv6 here
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			continue
		}
		if remote, ok := parseAddress(fields[2]); ok {
			into[fields[9]] = remote
		}
	}
}

// parseAddress reads 0100007F:1F90 and the 32 digits of IPv6: words of four bytes in the order of the CPU, which is
// little-endian on all that EC2 has.
func parseAddress(text string) (netip.AddrPort, bool) {
	address, port, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(address)
	p, portErr := hex.DecodeString(port)
	if !ok || err != nil || portErr != nil || len(p) != 2 {
		return netip.AddrPort{}, false
	}
	for i := 0; i+4 <= len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(p[0])<<8|uint16(p[1])), ok
}
