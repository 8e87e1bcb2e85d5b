package join

import (
	"cmp"
	"crypto/x509"
	"errors"

	"rekindle/agent/status"
)

// remedy is what the node's state is while there are no certificates, and what to do about it. Of the masters' answers the
// one counts that says most: a refusal more than a failed handshake, and that more than Busy.
func (s *seeker) remedy() (status.Reason, string) {
	if s.own != nil {
		reason, hint := status.ReasonOf(s.own)
		if reason == status.ReasonUnknown {
			return status.ReasonJoinUnreached, "no master was asked, since this node could not: journalctl -u rekindle says more"
		}
		return reason, hint
	}
	if len(s.known) == 0 {
		return status.ReasonJoinUnreached,
			"start a master: it announces itself in discovery/seeds.json of the store; or name one in discovery.masters"
	}
	var hint string
	best := 0
	for _, address := range s.known {
		if text, weight := hintFor(s.last[address]); weight > best {
			hint, best = text, weight
		}
	}
	if best == 3 {
		return status.ReasonJoinRefused, hint
	}
	return status.ReasonJoinUnreached, cmp.Or(hint, status.ReasonJoinUnreached.Hint())
}

func hintFor(err error) (hint string, weight int) {
	r, ok := errors.AsType[*refused](err)
	kind, _ := kindOf(err)
	switch {
	case ok && kind == refusal4xx:
		return cmp.Or(hints[r.Reason], status.ReasonJoinRefused.Hint()), 3
	case ok:
		return hints[r.Reason], 1
	}
	if _, ok := errors.AsType[*clockError](err); ok {
		return hints[Late], 2
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, other := errors.AsType[x509.HostnameError](err)
	if unknown || other {
		return "that address is not a master of this cluster, or the cluster's authority was replaced: look at " +
			"discovery/seeds.json and discovery.masters", 2
	}
	return "", 0
}

// hints are what to do about each reason.
var hints = map[Reason]string{
	Malformed:      sameVersion,
	UnknownRequest: sameVersion,
	BadCSR:         sameVersion,
	BadProof:       sameVersion,
	WrongSubject: "node.name must be instance-id or private-dns-name, the same in all of the cluster's configuration; " +
		"the master's journal has the names that EC2 knows",
	ForeignCluster: "compare the node's rekindle:cluster tag and configuration with the master's, and the store that both use",
	BadNonce:       oneMaster,
	Replayed:       oneMaster,
	WrongHost:      "node and masters must use the same STS endpoint: compare aws.endpoints.sts and AWS_USE_FIPS_ENDPOINT of both",
	Redirected:     "something between the master and STS redirects: check aws.endpoints.sts and the proxy of the master",
	Late:           "check the time synchronisation of this node and of the masters: chronyc tracking",
	Altered: "the node's credentials may have changed in between, then the next attempt succeeds; if it lasts, look for what " +
		"changes requests between node, master and STS",
	ForeignPartition: "only instances of the masters' own partition can join",
	ForeignAccount:   "only instances of the masters' own account can join",
	WrongRole:        "add the IAM role of this instance to join.iamRoles in the store's cluster.yaml",
	NotAnInstance: "the agent must use the credentials of its instance profile: remove AWS_ACCESS_KEY_ID and AWS_PROFILE from its " +
		"environment, and /root/.aws",
	UnknownInstance: "EC2 shows new instances after some seconds; if it lasts, node and masters are not in the same region",
	NotRunning:      "the instance is stopping or terminated in the eyes of EC2: start or replace it",
	UntaggedCluster: "tag the instance with rekindle:cluster=NAME, propagated from its Auto Scaling group",
	UntaggedRole:    "tag the instance with rekindle:role, propagated from its Auto Scaling group, and list that role in join.roles",
	WrongAddress:    "no NAT, proxy or load balancer may hide the node's address from the masters",
	Busy:            "the masters are busy with other nodes, and the node asks again by itself; allow it more time with timeouts.join",
	Unavailable: "read `journalctl -u rekindle` on the master: it must reach STS and EC2 (VPC endpoints), and needs " +
		"ec2:DescribeInstances",
}

const (
	sameVersion = "node and masters run agents that do not understand each other: bring them to the same version"
	oneMaster   = "a load balancer between node and masters must keep a connection with one master; better name the masters themselves"
)
