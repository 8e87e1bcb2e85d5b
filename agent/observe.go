package agent

import (
	"context"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"rekindle/agent/aws"
	"rekindle/agent/config"
	"rekindle/agent/facts"
)

// observer gathers facts, again and again, for one configuration.
type observer struct {
	sources facts.Sources
	options facts.Options
	meta    *aws.IMDS
}

func (a *Agent) observer(meta *aws.IMDS, clients *aws.Clients, asked *config.Config) *observer {
	o := &observer{meta: meta}
	o.sources = facts.Sources{
		EC2: func(context.Context, facts.Instance) (ec2.DescribeTagsAPIClient, error) {
			return describeTags(clients.EC2().DescribeTags), nil
		},
		// A node in a directory shares the machine's network with others: nothing there is its own.
		Software: new(facts.Software),
		System:   facts.System{Root: a.host.Root()},
	}
	if filepath.Clean(a.host.Root()) == "/" {
		o.sources.Links = facts.Netlink{}
	}
	o.options = facts.Options{Cluster: asked.Cluster, Role: asked.Role, MetadataTimeout: asked.Timeouts.Metadata,
		RoleTimeout: asked.Timeouts.Role, NetworkTimeout: asked.Timeouts.Network, Logger: a.Logger}
	return o
}

// first gathers with what metadata has read already.
func (o *observer) first(ctx context.Context, metadata *facts.Metadata) (facts.Facts, error) {
	sources := o.sources
	sources.Metadata = metadata
	return facts.Gather(ctx, sources, o.options)
}

// again reads everything anew.
func (o *observer) again(ctx context.Context) (facts.Facts, error) {
	return o.first(ctx, facts.NewMetadata(o.meta))
}

// describeTags is the one method of EC2's client that facts need: see the comment on aws.services for why the client
// itself stays out of interfaces.
type describeTags func(context.Context, *ec2.DescribeTagsInput, ...func(*ec2.Options)) (*ec2.DescribeTagsOutput, error)

func (d describeTags) DescribeTags(
	ctx context.Context, in *ec2.DescribeTagsInput, options ...func(*ec2.Options),
) (*ec2.DescribeTagsOutput, error) {
	return d(ctx, in, options...)
}
