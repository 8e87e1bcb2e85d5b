package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/pki"
	"rekindle/test/cloud"
)

const (
	cluster     = "bench.example"
	region      = "cn-north-1"
	nodeProfile = "bench-nodes"
	masterRole  = "bench-masters"
	certLife    = 30 * 24 * time.Hour

	// How long AWS takes for an answer, within a region.
	stsLatency = 15 * time.Millisecond
	ec2Latency = 40 * time.Millisecond

	// limit bounds one run.
	limit = 3 * time.Minute
)

// sample is one run.
type sample struct {
	took   time.Duration
	each   []time.Duration // by node, sorted
	master masterStats
}

// massJoin has nodes join a new cluster's only master at the same moment.
func massJoin(ctx context.Context, nodes int, profile string, verbose bool) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c := cloud.New(cloud.Options{
		Region: region, Subnets: []cloud.Subnet{{CIDR: netip.MustParsePrefix("127.128.0.0/16")}},
	})
	c.Faults().Add(cloud.Fault{Service: "sts", Do: cloud.Latency(stsLatency)})
	c.Faults().Add(cloud.Fault{Service: "ec2", Do: cloud.Latency(ec2Latency)})
	api, err := c.ServeAPI(ctx, "127.0.0.1:0")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, api.Close()) }()
	m, err := startMaster(ctx, c, api.URL, profile)
	if err != nil {
		return s, err
	}
	all, err := launch(c, nodes, api.URL, m.Address, verbose)
	if err != nil {
		return s, errors.Join(err, m.kill())
	}
	if s.took, err = together(ctx, all, m.roots); err != nil {
		return s, errors.Join(err, m.kill())
	}
	for _, n := range all {
		s.each = append(s.each, n.took)
	}
	slices.Sort(s.each)
	s.master, err = m.stop()
	return s, err
}

// launch makes the nodes, with all that they have before they ask: keys take their time, and it is not the master's.
func launch(c *cloud.Cloud, count int, sts, master string, verbose bool) ([]*node, error) {
	log := slog.New(slog.DiscardHandler)
	if verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	all := make([]*node, count)
	var making errgroup.Group
	making.SetLimit(4)
	for n := range all {
		making.Go(func() (err error) {
			i, err := c.Launch(cloud.InstanceSpec{
				Role: nodeProfile, Tags: map[string]string{"rekindle:cluster": cluster, "rekindle:role": "minion"},
			})
			if err != nil {
				return err
			}
			all[n], err = newNode(c, i, sts, master, log)
			return err
		})
	}
	return all, making.Wait()
}

// together has all nodes join and returns the time until the last one had its certificates.
func together(ctx context.Context, all []*node, roots []*x509.Certificate) (time.Duration, error) {
	start := make(chan struct{})
	var began time.Time
	joining, ctx := errgroup.WithContext(ctx)
	for _, n := range all {
		joining.Go(func() error {
			<-start
			certificates, err := n.client.Join(ctx, roots, n.requests)
			n.took = time.Since(began)
			if err == nil && len(certificates) != len(n.requests) {
				err = fmt.Errorf("%d certificates", len(certificates))
			}
			if err != nil {
				return fmt.Errorf("%s: %w", n.client.Instance, err)
			}
			return nil
		})
	}
	began = time.Now()
	close(start)
	err := joining.Wait()
	return time.Since(began), err
}

// requestsFor are those of a minion.
func requestsFor(name, address string) ([]pki.Request, error) {
	identity := pki.Spec{
		CommonName: "system:node:" + name, Organizations: []string{"system:nodes"}, Usages: []string{pki.Client}, Life: certLife,
	}
	serving := identity
	serving.Usages, serving.Names = []string{pki.Server}, []string{address}
	proxy := pki.Spec{CommonName: "system:kube-proxy", Usages: []string{pki.Client}, Life: certLife}
	var requests []pki.Request
	for _, r := range []struct {
		name string
		spec pki.Spec
	}{{"kubelet-client", identity}, {"kubelet-serving", serving}, {"kube-proxy", proxy}} {
		key, err := pki.NewKey("ECDSA-P256")
		if err != nil {
			return nil, err
		}
		csr, err := pki.NewCSR(r.spec, key)
		if err != nil {
			return nil, err
		}
		requests = append(requests, pki.Request{Name: r.name, CSR: csr})
	}
	return requests, nil
}
