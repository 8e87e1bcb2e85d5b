package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"time"

	"rekindle/agent/discovery"
	"rekindle/agent/pki"
)

const cluster = "bench.example"

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

// master is an API server: a process, and its network namespace if it has one.
type master struct {
	name    string
	address netip.AddrPort
	order   order
	space   *namespace // nil: that of this process
	process *process
}

// newMaster starts one. It is to be removed, even after an error, if it is not nil.
func newMaster(ctx context.Context, number int, silent bool, authority *pki.Authority) (*master, error) {
	m := &master{name: fmt.Sprintf("master-%d", number), address: anyPort}
	if silent {
		space, err := newNamespace(ctx, number)
		if err != nil {
			return nil, err
		}
		m.space, m.address = space, netip.AddrPortFrom(space.inside, 6443)
	}
	if err := m.certify(authority); err != nil {
		return m, err
	}
	return m, m.start(ctx)
}

// certify gives it a certificate.
func (m *master) certify(authority *pki.Authority) error {
	key, err := pki.NewKey("ECDSA-P256")
	if err != nil {
		return err
	}
	spec := pki.Spec{Names: []string{discovery.APIName(cluster)}, Usages: []string{pki.Server}, Life: time.Hour}
	leaf, err := pki.Issue(authority, spec, key.Public(), time.Now())
	if err != nil {
		return err
	}
	m.order.Certificate = leaf.Raw
	m.order.Key, err = x509.MarshalPKCS8PrivateKey(key)
	return err
}

// start starts the process, from the second time on at the address that it had.
func (m *master) start(ctx context.Context) (err error) {
	m.order.Name, m.order.Listen = m.name, m.address.String()
	if m.process, err = startProcess(ctx, m.space, m.order); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	m.address = m.process.address
	return nil
}

// lose takes the master away: its machine falls silent, or its process is killed.
func (m *master) lose() error {
	if m.space != nil {
		return m.space.silence()
	}
	m.process.kill()
	return nil
}

// counts is until how long after the loss the requests count that begin.
func (m *master) counts() time.Duration {
	if m.space != nil {
		return afterHole
	}
	return afterKill
}

// back undoes lose.
func (m *master) back(ctx context.Context) error {
	if m.space != nil {
		return m.space.restore(ctx)
	}
	return m.start(ctx)
}

func (m *master) remove() error {
	m.process.kill()
	if m.space != nil {
		return m.space.remove()
	}
	return nil
}
