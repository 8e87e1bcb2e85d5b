package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/care"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// stateDir is the agent's own directory.
const stateDir = "/var/lib/rekindle"

// keeper makes what decides about this node's members of etcd.
func (a *Agent) keeper(in *inputs) (*etcd.Keeper, error) {
	notes, err := a.host.Path(stateDir)
	if err != nil {
		return nil, err
	}
	word := &etcd.Word{Self: in.facts.Instance.ID, Memory: &a.memory,
		Describe: func(ctx context.Context, ask *ec2.DescribeInstancesInput, options ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
			return in.clients.EC2().DescribeInstances(ctx, ask, options...)
		}}
	return &etcd.Keeper{
		Records: in.records, Instance: in.facts.Instance.ID, Path: a.host.Path, Logger: a.Logger,
		Disk:  &etcd.Directory{Blobs: in.records, Path: a.host.Path, Logger: a.Logger},
		Notes: etcd.FileNotes{Dir: notes},
		Ask: etcd.Asked{
			Trace: in.records.Trace,
			Backups: func(ctx context.Context, cluster string) ([]backup.Entry, error) {
				entries, err := backup.List(ctx, in.records, cluster)
				return backup.Candidates(entries, anyGeneration), err
			},
			Instances: word.Ask,
			Dial: func(ctx context.Context, member plan.Etcd, endpoints []peers.Endpoint) (peers.Cluster, error) {
				return a.dialEtcd(ctx, in, member, endpoints)
			},
		},
		Halt:  a.haltEtcd,
		Leads: etcd.Leads,
		Hosts: func(ctx context.Context, member plan.Etcd, lines []byte) error {
			_, err := a.host.Block(ctx, "/etc/hosts", "etcd-"+member.Name, lines)
			return err
		},
		Observe: a.tellEtcd,
		Made:    a.tellBuilt,
		Memory:  &a.memory,
	}, nil
}

// deciding is the keeper as apply wants it.
type deciding struct{ *etcd.Keeper }

// readKey is under what a context holds how to read certificates that are not in place yet.
type readKey struct{}

// Prepare implements apply.Etcd.
func (d deciding) Prepare(ctx context.Context, member plan.Etcd, read func(string) ([]byte, error)) ([]byte, error) {
	return d.Keeper.Prepare(context.WithValue(ctx, readKey{}, read), member)
}

// anyGeneration is higher than any.
const anyGeneration = 1 << 30

// dialEtcd speaks to members with the certificate that the plan has for that.
func (a *Agent) dialEtcd(ctx context.Context, in *inputs, member plan.Etcd, endpoints []peers.Endpoint) (*peers.Client, error) {
	secure, err := a.etcdTLS(ctx, member)
	if err != nil {
		return nil, err
	}
	o := peers.Options{Endpoints: endpoints, TLS: secure, Logger: a.Logger}
	if own := in.facts.Instance.PrivateIPv4; own.IsLoopback() {
		o.LocalAddr = net.IP(own.AsSlice())
	}
	return peers.Dial(ctx, o)
}

func (a *Agent) etcdTLS(ctx context.Context, member plan.Etcd) (*tls.Config, error) {
	if member.ClientCert == "" {
		return nil, nil
	}
	read, ok := ctx.Value(readKey{}).(func(string) ([]byte, error))
	if !ok {
		read = a.host.Read
	}
	certificate, err := read(member.ClientCert)
	if err != nil {
		return nil, err
	}
	key, err := read(member.ClientKey)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", member.ClientCert, err)
	}
	trusted, err := read(member.TrustedCA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(trusted) {
		return nil, fmt.Errorf("%s holds no certificate", member.TrustedCA)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// How long etcd may take to stop, and how often it is looked at meanwhile.
const (
	haltLimit = 2 * time.Minute
	haltPause = 100 * time.Millisecond
)

// haltEtcd stops a member, whoever runs it. The plan brings the unit or the static pod back when the member may start.
func (a *Agent) haltEtcd(ctx context.Context, member plan.Etcd) error {
	ctx, cancel := context.WithTimeoutCause(ctx, haltLimit, errors.New("etcd did not stop"))
	defer cancel()
	defer status.Waiting(ctx, "etcd "+member.Name+": stop", "etcd to end")()
	if member.Unit != "" {
		state, err := a.Units.State(ctx, member.Unit)
		if err == nil && state.Load != "not-found" {
			err = a.Units.Do(ctx, "stop", member.Unit)
		}
		if err != nil {
			return err
		}
	} else if err := a.host.Remove("/etc/kubernetes/manifests/etcd-" + member.Name + ".yaml"); err != nil {
		return err
	}
	disk := &etcd.Directory{Path: a.host.Path}
	for {
		busy, err := disk.Busy(ctx, member)
		if err != nil || !busy {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(haltPause):
		}
	}
}

// watchEvery is how often a running member's record is read. A member that joins waits for the others to know its name.
const watchEvery = 2 * time.Second

// watchMembers looks after the members that run here, and after their clusters while they lead them, until the agent is told
// to stop.
func (a *Agent) watchMembers(n *node) {
	for _, member := range n.want.Etcd {
		carer := &care.Carer{
			Member: member, Instance: n.facts.Instance.ID, Config: n.config.Etcd.Backup, Store: n.records, Keeper: n.keeper,
			Dial: func(ctx context.Context, endpoints []peers.Endpoint) (*peers.Client, error) {
				return a.dialEtcd(ctx, n.inputs, member, endpoints)
			},
			Path: a.host.Path, Board: a.board, Logger: a.Logger,
			Turn: func(ctx context.Context) (func(context.Context, error) error, error) {
				return a.turns(n).Take(ctx, []string{"etcd " + member.Name})
			},
		}
		a.spawn(func(ctx context.Context) { carer.Run(status.WithWaits(ctx, a.board)) })
		a.spawn(func(ctx context.Context) {
			n.keeper.Watch(status.WithWaits(ctx, a.board), member, watchEvery, func(why string) {
				a.Logger.Info("applying again", "why", why)
				select {
				case a.wake <- struct{}{}:
				default: // it is going to, in any case
				}
			})
		})
	}
}
