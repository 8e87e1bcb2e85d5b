package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// How long one name server may take for one question.
const lookupTimeout = 2 * time.Second

// Resolver asks the machine's name servers, past the hosts file, which holds our own answer for the cluster's names.
type Resolver struct {
	// Conf is the path of resolv.conf(5).
	Conf string

	port string // of the name servers; "": 53
}

// Lookup returns the addresses of a name, in order. The name servers are asked one after the other until one answers; that the
// name does not exist is an answer, and an error that says so.
func (r Resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	conf, err := dns.ClientConfigFromFile(r.Conf)
	if err != nil {
		return nil, fmt.Errorf("name servers: %w", err)
	}
	var errs []error
	for _, server := range conf.Servers {
		found, err := ask(ctx, net.JoinHostPort(strings.Trim(server, "[]"), cmp.Or(r.port, conf.Port)), dns.Fqdn(name))
		if err == nil || errors.Is(err, errNoSuchName) || ctx.Err() != nil {
			return found, err
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s names no name server", r.Conf))
	}
	return nil, errors.Join(errs...)
}

var errNoSuchName = errors.New("no such name")

// ask puts both questions to one server.
func ask(ctx context.Context, server, name string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		answer, err := exchange(ctx, server, new(dns.Msg).SetQuestion(name, kind))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", server, err)
		}
		if answer.Rcode == dns.RcodeNameError {
			return nil, fmt.Errorf("%s: %s: %w", server, strings.TrimSuffix(name, "."), errNoSuchName)
		}
		if answer.Rcode != dns.RcodeSuccess {
			return nil, fmt.Errorf("%s: %s: %s", server, strings.TrimSuffix(name, "."), dns.RcodeToString[answer.Rcode])
		}
		for _, record := range answer.Answer {
			var ip net.IP
			switch record := record.(type) {
			case *dns.A:
				ip = record.A
			case *dns.AAAA:
				ip = record.AAAA
			}
			if address, ok := netip.AddrFromSlice(ip); ok {
				all = append(all, address.Unmap())
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

// exchange asks by UDP, and by TCP when the answer does not fit.
func exchange(ctx context.Context, server string, question *dns.Msg) (*dns.Msg, error) {
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network, Timeout: lookupTimeout}
		answer, _, err := client.ExchangeContext(ctx, question, server)
		if err != nil {
			return nil, err
		}
		if !answer.Truncated {
			return answer, nil
		}
	}
	return nil, errors.New("the answer does not fit")
}
