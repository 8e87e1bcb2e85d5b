package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"rekindle/agent/discovery"
	"rekindle/agent/facts"
	"rekindle/agent/join"
	"rekindle/agent/pki"
	"rekindle/agent/plan"
)

// The join server's own certificate, which the role brings.
const (
	joinCertPath = "/var/lib/rekindle/pki/join.crt"
	joinKeyPath  = "/var/lib/rekindle/pki/join.key"
)

// serve begins, once, what a node does beside its plan: metrics for all, the care for members of etcd, and on masters the signing of certificates. It is
// called when the plan's files are in place, so new nodes need not wait for this one's units.
func (a *Agent) serve(n *node) {
	a.serving.Do(func() {
		a.spawn(func(ctx context.Context) { a.serveMetrics(ctx, n.config.Metrics.Listen) })
		a.watchMembers(n)
		signer, signs := signing(n.want)
		if !signs {
			return
		}
		a.spawn(func(ctx context.Context) { a.serveJoins(ctx, n, signer) })
		a.spawn(func(ctx context.Context) { a.announce(ctx, n) })
	})
}

// served tells whether the agent served nodes on this machine before: then it goes on at once, since an apply may have to
// wait for its turn, and those that join need not.
func (a *Agent) served() bool {
	_, err := a.joinCertificate().get()
	return err == nil
}

// signing is the authority that signs for other nodes, if this one holds its key and a certificate to serve with.
func signing(want *plan.Plan) (plan.Authority, bool) {
	i := slices.IndexFunc(want.Authorities, func(a plan.Authority) bool { return a.Name == pki.Kubernetes && a.Key != "" })
	if i < 0 || !slices.ContainsFunc(want.Certs, func(c plan.Cert) bool { return c.Path == joinCertPath }) {
		return plan.Authority{}, false
	}
	return want.Authorities[i], true
}

// addresses are the node's own, as its plan has them.
func addresses(n *node) []netip.Addr {
	all, err := n.facts.Instance.NodeIPs(n.config.Node.IPFamily)
	if err != nil {
		return nil // an impossible family is plan.Make's to refuse
	}
	return all
}

// The pauses between two attempts to listen, and to announce.
const (
	listenPause   = 5 * time.Second
	announcePause = time.Minute
	announceAgain = 30 * time.Minute
)

// serveJoins signs certificates until ctx ends. A port that somebody else uses is tried again.
func (a *Agent) serveJoins(ctx context.Context, n *node, signer plan.Authority) {
	for {
		err := a.serveJoin(ctx, n, signer)
		if ctx.Err() != nil {
			return
		}
		a.board.JoinOff(err)
		a.Logger.Error("joins are not served", "error", err)
		if !pause(ctx, listenPause) {
			return
		}
	}
}

// serveJoin is one server, at all of the node's addresses: what it bounds, it bounds for all of them together.
func (a *Agent) serveJoin(ctx context.Context, n *node, signer plan.Authority) error {
	sts, err := n.clients.STSEndpoint(ctx)
	if err != nil {
		return err
	}
	self := n.facts.Instance
	authority := &pair[*pki.Authority]{
		read: a.host.Read, certificate: signer.Path, key: signer.Key,
		parse: func(certificates, key []byte) (*pki.Authority, error) {
			return pki.Parse(signer.Name, certificates, key)
		},
	}
	own := a.joinCertificate()
	server, err := join.NewServer(join.ServerOptions{
		Cluster: n.config.Cluster, Account: self.AccountID, Partition: self.Partition, Region: self.Region,
		STS: sts, HTTP: n.clients.HTTPClient(),
		Instances: join.DescribeInstances(func(ctx context.Context, ask *ec2.DescribeInstancesInput, options ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
			return n.clients.EC2().DescribeInstances(ctx, ask, options...)
		}, self.Region),
		Tags:      facts.ParseTags,
		Authority: func(context.Context) (*pki.Authority, error) { return authority.get() },
		Life:      n.config.PKI.Life, IAMRoles: n.config.Join.IAMRoles, Roles: n.config.Join.Roles,
		Observe: func(reason join.Reason, instance string, took time.Duration) {
			a.metrics.Joined(string(reason), instance, took)
		},
		Logger: a.Logger,
	})
	if err != nil {
		return err
	}
	listeners, where, err := listen(ctx, addresses(n), n.config.Join.Port)
	if err != nil {
		return fmt.Errorf("join server: %w", err)
	}
	a.board.JoinServing(where)
	a.metrics.JoinInFlight(server.InFlight)
	a.Logger.Info("signing certificates for nodes that join", "address", where)
	return server.Serve(ctx, listeners, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.get() })
}

// joinCertificate is the join server's own.
func (a *Agent) joinCertificate() *pair[*tls.Certificate] {
	return &pair[*tls.Certificate]{
		read: a.host.Read, certificate: joinCertPath, key: joinKeyPath,
		parse: func(certificate, key []byte) (*tls.Certificate, error) {
			pair, err := tls.X509KeyPair(certificate, key)
			return &pair, err
		},
	}
}

// listen listens at all addresses, or at none.
func listen(ctx context.Context, at []netip.Addr, port int) (all []net.Listener, where string, err error) {
	var texts []string
	for _, address := range at {
		text := netip.AddrPortFrom(address, uint16(port)).String()
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", text)
		if err != nil {
			for _, l := range all {
				_ = l.Close() // nothing was served at it
			}
			return nil, "", err
		}
		all, texts = append(all, l), append(texts, text)
	}
	return all, strings.Join(texts, ", "), nil
}

// announce tells the store where this master is, and repeats it, so that the seeds stay young.
func (a *Agent) announce(ctx context.Context, n *node) {
	self := discovery.Seed{Instance: n.facts.Instance.ID, Addresses: addresses(n), JoinPort: n.config.Join.Port}
	for next := announceAgain; ; next = announceAgain {
		self.Announced = time.Now().UTC()
		if err := discovery.Announce(ctx, n.records, self); err != nil && ctx.Err() == nil {
			a.Logger.Warn("this master could not announce itself; new nodes find it only by discovery.masters", "error", err)
			next = announcePause
		}
		if !pause(ctx, next) {
			return
		}
	}
}

// pause waits, within a tenth either way, and tells whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d - d/10 + rand.N(d/5)):
		return true
	}
}

func (a *Agent) serveMetrics(ctx context.Context, listen string) {
	if err := a.metrics.Serve(ctx, listen, a.Logger); err != nil && ctx.Err() == nil {
		a.Logger.Warn("metrics are not served", "listen", listen, "error", err)
	}
}
