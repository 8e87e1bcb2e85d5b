package agent

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"rekindle/agent/discovery"
	"rekindle/agent/etcd"
)

// An account's limit of DescribeInstances is shared by all that ask, and may be used up for minutes. Nothing here waits for
// EC2: masters ask once, not again and again, and not at all for a while after it refused.
const (
	ec2Timeout   = 3 * time.Second
	ec2Pause     = 10 * time.Second // after the first refusal; it doubles up to ec2LongPause
	ec2LongPause = 5 * time.Minute
	// withdrawEvery is how often a master looks for seeds of instances that are no more.
	withdrawEvery = 30 * time.Minute
)

var errEC2Refused = errors.New("EC2 refused to answer a moment ago, and is left alone for a while")

// patience says when EC2 may be asked.
type patience struct {
	mu   sync.Mutex
	next time.Time
	wait time.Duration // 0: it answered last
}

func (p *patience) due() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !time.Now().Before(p.next)
}

// note takes over how a question ended.
func (p *patience) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.next, p.wait = time.Time{}, 0
		return
	}
	p.wait = max(ec2Pause, min(2*p.wait, ec2LongPause))
	p.next = time.Now().Add(p.wait - p.wait/4 + rand.N(p.wait/2))
}

// describe asks EC2 once.
func (f *finding) describe(ctx context.Context, ask *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	if f.n.clients == nil {
		return nil, errors.New("no clients")
	}
	ctx, cancel := context.WithTimeout(ctx, ec2Timeout)
	defer cancel()
	out, err := f.n.clients.EC2().DescribeInstances(ctx, ask, func(o *ec2.Options) { o.Retryer = awssdk.NopRetryer{} })
	f.ec2.note(err)
	return out, err
}

// tagged are the addresses of the cluster's running instances, by EC2's word; of those in among only, unless that is nil.
func (f *finding) tagged(ctx context.Context, among []netip.Addr) ([][]netip.Addr, error) {
	filter := func(name string, values ...string) types.Filter { return types.Filter{Name: &name, Values: values} }
	ask := &ec2.DescribeInstancesInput{Filters: []types.Filter{filter("instance-state-name", "pending", "running", "stopping", "stopped")}}
	if among == nil {
		ask.Filters = []types.Filter{filter("instance-state-name", "pending", "running"), filter("tag:rekindle:cluster", f.n.config.Cluster)}
	} else {
		ask.Filters = append(ask.Filters, filter("private-ip-address", texts(among)...))
	}
	var all [][]netip.Addr
	for {
		page, err := f.describe(ctx, ask)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				if address, err := netip.ParseAddr(awssdk.ToString(i.PrivateIpAddress)); err == nil {
					all = append(all, []netip.Addr{address})
				}
			}
		}
		if ask.NextToken = page.NextToken; awssdk.ToString(ask.NextToken) == "" {
			return all, nil
		}
	}
}

// gone are those of the addresses that no instance has that could come back.
func (f *finding) gone(ctx context.Context, addresses []netip.Addr) ([]netip.Addr, error) {
	if !f.ec2.due() {
		return nil, errEC2Refused
	}
	there, err := f.tagged(ctx, addresses)
	if err != nil {
		return nil, err
	}
	held := slices.Concat(there...)
	if !slices.ContainsFunc(f.own.Addresses, func(a netip.Addr) bool { return slices.Contains(addresses, a) }) {
		// EC2 must find this instance by its own address: a wrong account or VPC finds nobody.
		if own, err := f.tagged(ctx, f.own.Addresses[:1]); err != nil || len(own) == 0 {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return slices.Contains(held, a) }), nil
}

// withdraw takes the seeds of instances that are no more out of the store until ctx ends, so that nodes that boot do not try
// them.
func (f *finding) withdraw(ctx context.Context) {
	word := &etcd.Word{Self: f.own.Instance, Memory: &f.memory, Describe: f.describe}
	for pause(ctx, withdrawEvery) {
		if !f.ec2.due() {
			continue
		}
		if err := f.withdrawGone(ctx, word.Ask); err != nil && ctx.Err() == nil {
			f.Logger.Info("seeds of instances that are no more", "error", err)
		}
	}
}

// withdrawGone asks about the instances of all seeds but this node's own. What EC2 does not say stays as it is.
func (f *finding) withdrawGone(ctx context.Context, ask func(context.Context, []string) (etcd.Instances, error)) error {
	seeds, err := discovery.Seeds(ctx, f.n.records)
	if err != nil {
		return err
	}
	var others []string
	for _, s := range seeds {
		if s.Instance != f.own.Instance {
			others = append(others, s.Instance)
		}
	}
	if len(others) == 0 {
		return nil
	}
	word, err := ask(ctx, others)
	if err != nil {
		return err
	}
	maps.DeleteFunc(word.Gone, func(_ string, gone bool) bool { return !gone })
	if len(word.Gone) == 0 {
		return nil
	}
	gone := slices.Sorted(maps.Keys(word.Gone))
	f.Logger.Info("these instances are no more: their seeds go", "instances", gone)
	return discovery.Withdraw(ctx, f.n.records, gone...)
}
