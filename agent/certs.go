package agent

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"rekindle/agent/apply"
	"rekindle/agent/discovery"
	"rekindle/agent/join"
	"rekindle/agent/pki"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// holder keeps the node's authorities and certificates: on masters out of the store, elsewhere by way of a master.
func (a *Agent) holder(in *inputs) *pki.Holder {
	c := in.config.PKI
	name, _ := in.facts.Instance.NodeName(in.config.Node.Name) // an impossible one is plan.Make's to refuse
	vault := &pki.Vault{
		Cluster: in.config.Cluster, Instance: in.facts.Instance.ID, Records: in.records,
		Algorithm: c.KeyAlgorithm, AuthorityLife: c.AuthorityLife,
		Seal: sealer(in), Evidence: a.evidence(in), EtcdApart: len(in.config.Etcd.Endpoints) > 0, Logger: a.Logger,
	}
	return &pki.Holder{
		Source: &pki.Brought{Refs: c.Authorities, Read: in.engine.Secrets.Read, Next: vault},
		Join: &join.Client{
			Cluster: in.config.Cluster, Instance: in.facts.Instance.ID, Node: name,
			Masters: in.masters, Prove: in.clients.ProveIdentity, Dial: dialFrom(in), Logger: a.Logger,
		},
		Read: a.host.Read, Instance: in.facts.Instance.ID, Algorithm: c.KeyAlgorithm, Limit: in.config.Timeouts.Join,
		Logger: a.Logger, Seen: a.tellCertificates,
	}
}

// dialFrom connects from the node's own address where several nodes share a machine, and nil, the system's choice, does
// elsewhere: masters check that a node comes from an address of its instance.
func dialFrom(in *inputs) func(ctx context.Context, network, address string) (net.Conn, error) {
	own := in.facts.Instance.PrivateIPv4
	if !own.IsLoopback() {
		return nil
	}
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(own, 0))}
	return dialer.DialContext
}

// certs is the holder as apply wants it. Renewals that fail are shown for as long as they do.
type certs struct {
	*pki.Holder
	board   *status.Board
	metrics *status.Metrics
}

// Hold implements apply.Certs.
func (c certs) Hold(ctx context.Context, p *plan.Plan, dry bool) ([]apply.Held, []string, error) {
	held, warnings, err := c.Holder.Hold(ctx, p, dry)
	if !dry && err == nil {
		c.board.SetWarnings(status.ReasonCertificate, "", warnings...)
		c.metrics.Renewed(0, len(warnings))
	}
	return held, warnings, err
}

// sealer opens sealed authorities, and seals new ones when the configuration says so.
func sealer(in *inputs) *pki.Sealer {
	s := &pki.Sealer{
		Encrypt: func(ctx context.Context, ask *kms.EncryptInput, options ...func(*kms.Options)) (*kms.EncryptOutput, error) {
			return in.clients.KMS().Encrypt(ctx, ask, options...)
		},
		Decrypt: func(ctx context.Context, ask *kms.DecryptInput, options ...func(*kms.Options)) (*kms.DecryptOutput, error) {
			return in.clients.KMS().Decrypt(ctx, ask, options...)
		},
	}
	if in.config.PKI.Seal {
		s.KeyID = in.config.PKI.KMSKey
	}
	return s
}

// The files that masters have of each authority.
var authorityFiles = map[string]string{
	pki.Kubernetes:     "/etc/kubernetes/pki/ca.crt",
	pki.Etcd:           "/etc/kubernetes/pki/etcd/ca.crt",
	pki.FrontProxy:     "/etc/kubernetes/pki/front-proxy-ca.crt",
	pki.ServiceAccount: "/etc/kubernetes/pki/sa.pub",
}

// evidence says where there is a sign that an authority existed, though the store has none: on this node's disk, or, as
// masters announce themselves only after they have all of theirs, in the seeds.
func (a *Agent) evidence(in *inputs) func(ctx context.Context, name string) (string, error) {
	return func(ctx context.Context, name string) (string, error) {
		path := authorityFiles[name]
		_, err := a.host.Read(path)
		if err == nil {
			return path + " of this node", nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if name == pki.Etcd {
			return "", nil // dedicated nodes create it, before there is a master
		}
		seeds, err := discovery.Seeds(ctx, in.records)
		if err != nil || len(seeds) == 0 {
			return "", err
		}
		return "master " + seeds[0].Instance + " of " + discovery.SeedsKey, nil
	}
}

// masters are where a join server may listen: those of the configuration, and those that announced themselves.
func (in *inputs) masters(ctx context.Context) ([]string, error) {
	port := strconv.Itoa(in.config.Join.Port)
	var all []string
	for _, master := range in.config.Discovery.Masters {
		host, _, err := net.SplitHostPort(master)
		if err != nil {
			host = master
		}
		all = append(all, net.JoinHostPort(host, port))
	}
	seeds, err := discovery.Seeds(ctx, in.records)
	for _, address := range discovery.JoinAddresses(seeds) {
		if !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, err
}

// tellCertificates shows what the node holds.
func (a *Agent) tellCertificates(authorities []status.Authority, certificates []status.Certificate) {
	a.board.SetAuthorities(authorities)
	a.board.SetCertificates(certificates)
}
