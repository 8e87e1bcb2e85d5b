package facts

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"golang.org/x/sync/errgroup"

	"rekindle/agent/status"
)

// Sources are where facts come from. Metadata is required.
type Sources struct {
	// Metadata may have been read from already (user-data): what it read is not read again.
	Metadata *Metadata
	// EC2 makes the client for DescribeTags, when IMDS serves no tags and they are needed. Nil: EC2 is never asked.
	EC2 func(ctx context.Context, instance Instance) (ec2.DescribeTagsAPIClient, error)
	// Links is the machine's network. Nil: it is neither waited for nor read, for instances that are directories.
	Links Links
	// Software keeps versions from one Gather to the next. Nil: nothing is kept.
	Software *Software
	System   System
}

// Options are what the configuration says about gathering.
type Options struct {
	// Cluster and Role as the configuration has them. What is empty must come from tags and is waited for.
	Cluster, Role string
	// The deadlines of config.Timeouts. Zero: the default.
	MetadataTimeout, RoleTimeout, NetworkTimeout time.Duration
	Logger                                       *slog.Logger
}

// Gather observes the node. The parts run side by side; the first that fails ends it, and its error has a reason.
func Gather(ctx context.Context, s Sources, o Options) (Facts, error) {
	if s.Metadata == nil {
		return Facts{}, errors.New("facts: no instance metadata: on a laptop use a facts file")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if s.Software == nil {
		s.Software = new(Software)
	}
	var (
		f          Facts
		interfaces []Interface
		route      *Route
		software   map[string]string
	)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		f.Instance, f.Tags, err = identity(ctx, s, o)
		return err
	})
	group.Go(func() (err error) {
		if s.Links == nil {
			return nil
		}
		interfaces, route, err = network(ctx, s.Links, o)
		return err
	})
	group.Go(func() (err error) {
		_, step := status.Step(ctx, "machine")
		defer func() { step.Done(err) }()
		f.Machine, err = s.System.machine()
		return err
	})
	group.Go(func() error {
		ctx, step := status.Step(ctx, "software")
		defer step.Done(nil)
		software = s.Software.Versions(ctx, s.System)
		return nil
	})
	if err := group.Wait(); err != nil {
		return Facts{}, err
	}
	f.Machine.Interfaces, f.Machine.DefaultRoute, f.Machine.Software = interfaces, route, software
	f.Machine.ENI = LimitsOf(f.Instance.Type)
	return f, nil
}

// identity reads IMDS, and then the tags, since EC2 has to be asked for them by instance.
func identity(ctx context.Context, s Sources, o Options) (instance Instance, tags Tags, err error) {
	instance, err = metadata(ctx, s.Metadata, o)
	if err != nil {
		return Instance{}, Tags{}, err
	}
	r := &tagReader{
		metadata: s.Metadata, instance: instance.ID, log: o.Logger,
		needCluster: o.Cluster == "", needRole: o.Role == "", timeout: o.RoleTimeout,
	}
	if r.timeout <= 0 {
		r.timeout = tagTimeout
	}
	if s.EC2 != nil {
		r.ec2 = func(ctx context.Context) (ec2.DescribeTagsAPIClient, error) { return s.EC2(ctx, instance) }
	}
	tags, err = r.read(ctx)
	return instance, tags, err
}

func metadata(ctx context.Context, m *Metadata, o Options) (instance Instance, err error) {
	ctx, step := status.Step(ctx, "imds")
	defer func() { step.Done(err) }()
	if o.MetadataTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.MetadataTimeout)
		defer cancel()
	}
	return m.Instance(ctx)
}

func network(ctx context.Context, links Links, o Options) (interfaces []Interface, route *Route, err error) {
	ctx, step := status.Step(ctx, "network")
	defer func() { step.Done(err) }()
	timeout := o.NetworkTimeout
	if timeout <= 0 {
		timeout = networkTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return WaitNetwork(ctx, links)
}
