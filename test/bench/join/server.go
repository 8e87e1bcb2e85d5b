package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"

	"rekindle/agent/aws"
	"rekindle/agent/join"
	"rekindle/agent/pki"
)

// order is what the master is told: on its standard input, as one line of JSON.
type order struct {
	Account, Partition string
	API                string // of STS and EC2
	Profile            string
}

// serving is what it answers when it listens.
type serving struct {
	Address string
	Roots   []byte // PEM
}

// masterStats is what it answers last.
type masterStats struct {
	Answers map[join.Reason]int
	Peak    int64         // most memory that was resident, bytes
	CPU     time.Duration // user and system
}

// serve is the master's process. It ends with its standard input, so it cannot outlive whoever started it.
func serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	input := json.NewDecoder(os.Stdin)
	var o order
	if err := input.Decode(&o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	authority, err := pki.New(pki.Kubernetes, "ECDSA-P256", 10*365*24*time.Hour, time.Now())
	if err != nil {
		return err
	}
	stats := masterStats{Answers: map[join.Reason]int{}}
	var mu sync.Mutex
	server, err := newServer(ctx, o, authority, func(reason join.Reason, _ string, _ time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		stats.Answers[reason]++
	})
	if err != nil {
		return err
	}
	certificate, err := certificateFor(authority)
	if err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	stopProfile, err := startProfile(o.Profile)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // nothing more is said; its end is what counts
		cancel()
	}()
	answers := json.NewEncoder(os.Stdout)
	if err := answers.Encode(serving{listener.Addr().String(), authority.CertificatePEM()}); err != nil {
		return err
	}
	err = server.Serve(ctx, []net.Listener{listener}, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil })
	stopProfile()
	if err != nil {
		return err
	}
	if stats.Peak, err = peak(); err != nil {
		return err
	}
	if stats.CPU, err = cpu(); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return answers.Encode(stats)
}

func newServer(
	ctx context.Context, o order, authority *pki.Authority, observe func(join.Reason, string, time.Duration),
) (*join.Server, error) {
	clients, err := aws.New(ctx, aws.Options{
		Region: region, Partition: o.Partition, Endpoints: map[string]string{"ec2": o.API, "sts": o.API},
	})
	if err != nil {
		return nil, err
	}
	sts, err := clients.STSEndpoint(ctx)
	if err != nil {
		return nil, err
	}
	return join.NewServer(join.ServerOptions{
		Cluster: cluster, Account: o.Account, Partition: o.Partition, Region: region, STS: sts,
		Instances: join.DescribeInstances(clients.EC2().DescribeInstances, region),
		Tags: func(tags map[string]string) (string, string, error) {
			return tags["rekindle:cluster"], tags["rekindle:role"], nil
		},
		Authority: func(context.Context) (*pki.Authority, error) { return authority, nil },
		Life:      certLife, IAMRoles: []string{nodeProfile}, Roles: []string{"minion"}, Observe: observe,
		// The log is written, since it costs something, and goes nowhere.
		Logger: slog.New(slog.NewJSONHandler(io.Discard, nil)),
	})
}

func certificateFor(authority *pki.Authority) (*tls.Certificate, error) {
	key, err := pki.NewKey("ECDSA-P256")
	if err != nil {
		return nil, err
	}
	spec := pki.Spec{Names: []string{join.ServerName(cluster)}, Usages: []string{pki.Server}, Life: certLife}
	leaf, err := pki.Issue(authority, spec, key.Public(), time.Now())
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func startProfile(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { pprof.StopCPUProfile(); _ = file.Close() }, nil
}

// cpu is what this process used, user and system.
func cpu() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
