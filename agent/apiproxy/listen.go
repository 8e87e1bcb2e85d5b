package apiproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/coreos/go-systemd/v22/activation"
)

// passed are the sockets that systemd gave to this process. They can be taken from the environment only once.
var passed = sync.OnceValues(activation.ListenersWithNames)

// Listeners returns the sockets that systemd passed under a name (FileDescriptorName= of the socket unit), and listens at
// the addresses itself if there are none. Systemd holds its own: while the process is not there, clients wait in the
// socket's queue. It may be called once for each name.
func Listeners(ctx context.Context, name string, addresses ...netip.AddrPort) ([]net.Listener, error) {
	given, err := passed()
	if err != nil {
		return nil, fmt.Errorf("sockets of systemd: %w", err)
	}
	if len(given[name]) > 0 {
		return given[name], nil
	}
	var all []net.Listener
	var config net.ListenConfig
	config.SetMultipathTCP(false) // one path is all there is, and plain TCP costs less
	for _, at := range addresses {
		l, err := config.Listen(ctx, "tcp", at.String())
		if err != nil {
			for _, l := range all {
				err = errors.Join(err, l.Close())
			}
			return nil, err
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("systemd passed no socket %q, and no address is given", name)
	}
	return all, nil
}
