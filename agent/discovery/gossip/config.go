package gossip

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// DefaultPort is where gossip listens, UDP and TCP.
const DefaultPort = 3987

// tcpTimeout bounds a connection, from dialling to the last byte: a full state of 3,000 nodes has 600 KB.
const tcpTimeout = 10 * time.Second

// config is memberlist's, for one region and up to 3,000 nodes. What `make bench-gossip` measures follows from it.
func config(o Options, open *opener, m *members) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = o.Self.Instance
	c.Label = o.Cluster
	c.Keyring = open.ring
	c.GossipVerifyIncoming, c.GossipVerifyOutgoing = true, true
	c.BindAddr, c.BindPort = o.Bind.String(), o.Port
	c.AdvertiseAddr, c.AdvertisePort = o.Advertise.String(), o.Port
	c.Delegate, c.Events, c.Alive, c.Conflict, c.Ping = nil, m, m, m, m
	c.Logger = log.New(&lines{o.Logger, m.suspect}, "", 0)

	// A piece of news goes to 3 nodes every 200 ms: 1,000 nodes know it after 6 to 8 rounds. Without news nothing is sent.
	c.GossipInterval, c.GossipNodes = 200*time.Millisecond, 3
	// Each node passes it on 6 times, and from 10 nodes on 6*log10(n) times. With 4, chance alone leaves one of nine nodes out of
	// every fifteenth piece of news, even if nothing is lost. exchange repairs the rest.
	c.RetransmitMult = 6
	// One node is probed a second, for about 270 bytes: most of the idle traffic. Others are asked after 500 ms, which is
	// beyond any delay within a region.
	c.ProbeInterval, c.ProbeTimeout, c.IndirectChecks = time.Second, 500*time.Millisecond, 3
	// A suspect has 3*log10(n) seconds to object once a second node confirms, and six times as long while none does: a
	// node that alone cannot reach a master removes it for nobody. With 2, no confirmation would be needed.
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 3, 6
	// Where UDP is lost, a probe goes over TCP: the node lives.
	c.DisableTcpPings = false
	// Full states are for what gossip lost. memberlist exchanges them ever more often for all, as a cluster grows; exchange
	// does it at a rate that costs the same.
	c.PushPullInterval = 0
	c.TCPTimeout = tcpTimeout
	// A dead node is told so for a minute, that it may object; healing takes over from there.
	c.GossipToTheDeadTime = time.Minute
	// An instance that died may have another address at once. 0 would mean never.
	c.DeadNodeReclaimTime = time.Millisecond
	// Metadata is dense already, and LZW takes tables of 64 KiB for each packet.
	c.EnableCompression = false
	// Fits an MTU of 1500 (through an internet gateway) with the headers of IPv6 and UDP.
	c.UDPBufferSize = 1400
	// A join storm of 1,000 nodes brings as many messages at once.
	c.HandoffQueueDepth = 4096
	return c
}

// lines passes memberlist's log on. Nothing in it needs an operator: what counts has metrics.
type lines struct {
	logger  *slog.Logger
	suspect func(instance string)
}

// Write implements io.Writer for log.Logger: one line a call.
func (l *lines) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	// The only place where memberlist tells that a probe failed.
	if rest, ok := strings.CutPrefix(text, "[INFO] memberlist: Suspect "); ok {
		if instance, ok := strings.CutSuffix(rest, " has failed, no acks received"); ok {
			l.suspect(instance)
		}
	}
	l.logger.Debug(text)
	return len(line), nil
}
