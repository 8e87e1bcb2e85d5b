package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"rekindle/agent/aws"
	"rekindle/agent/etcd"
	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/store"
)

// Access is what a verb about etcd can reach: a cluster's store, from anywhere; and on a node that carries a member of the
// etcd cluster, the member.
type Access struct {
	Place    string // the store
	Store    store.Store
	Cluster  string // the Kubernetes cluster's name; empty: nobody said
	Instance string // this node's; empty elsewhere
	// Instances asks EC2 about instances: a state each.
	Instances func(ctx context.Context, ids []string) (map[string]string, error)

	Member *plan.Etcd // this node's member; nil: it carries none
	Spool  string     // where snapshots lie for a while; empty elsewhere
	// Dial speaks to members with this node's certificates; nil where Member is.
	Dial func(ctx context.Context, endpoints []peers.Endpoint) (*peers.Client, error)
	// Path is where a path of the plan really lies.
	Path func(path string) (string, error)
}

// Away says where a store is and how it is reached without a node.
type Away struct {
	Store, Region, Endpoint string
	PathStyle               bool
}

// AccessStore opens a store with whatever credentials the SDK finds.
func AccessStore(ctx context.Context, options Options, at Away) (*Access, error) {
	o := aws.Options{Region: at.Region, PathStyle: at.PathStyle, Logger: options.Logger, UserAgent: "rekindle/" + options.Version}
	if at.Endpoint != "" {
		o.Endpoints = map[string]string{"s3": at.Endpoint}
	}
	a := &Access{Place: at.Store, Path: newAgent(options).host.Path}
	if dir, ok := strings.CutPrefix(at.Store, "dir://"); ok && strings.HasPrefix(dir, "/") {
		a.Store = store.NewDir(dir)
		// EC2 may be within reach or not: who asks it learns why.
		a.Instances = func(ctx context.Context, ids []string) (map[string]string, error) {
			clients, err := aws.New(ctx, o)
			if err != nil {
				return nil, err
			}
			return ec2States(clients)(ctx, ids)
		}
		return a, nil
	}
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(at.Store, "s3://"), "/")
	if !strings.HasPrefix(at.Store, "s3://") || bucket == "" {
		return nil, fmt.Errorf("%w: %q: use s3://BUCKET/PREFIX or dir:///PATH", ErrNoStore, at.Store)
	}
	clients, err := aws.New(ctx, o)
	if err != nil {
		return nil, err
	}
	a.Store, a.Instances = store.NewS3(clients.S3(""), bucket, prefix), ec2States(clients)
	return a, nil
}

// ErrNoStore says that what was named is no place for a store.
var ErrNoStore = errors.New("store")

func ec2States(clients *aws.Clients) func(context.Context, []string) (map[string]string, error) {
	word := &etcd.Word{
		Describe: func(ctx context.Context, ask *ec2.DescribeInstancesInput, options ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
			return clients.EC2().DescribeInstances(ctx, ask, options...)
		},
	}
	return word.States
}

// accessTimeout bounds what a node may take to know its own configuration: somebody sits before it.
const accessTimeout = 30 * time.Second

// AccessNode opens the store of this node, and reaches its member of an etcd cluster. It changes nothing but the cache of assets.
func AccessNode(ctx context.Context, options Options, cluster string) (*Access, error) {
	opening, cancel := context.WithTimeoutCause(ctx, accessTimeout,
		fmt.Errorf("not known within %s: give --store s3://BUCKET/PREFIX, or see what the node waits for: rekindle status", accessTimeout))
	defer cancel()
	looked, err := Look(opening, options)
	if err != nil {
		if opening.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w (%w)", context.Cause(opening), err)
		}
		return nil, fmt.Errorf("this node's configuration: %w", err)
	}
	n, a := looked.n, newAgent(options)
	out := &Access{
		Place: n.config.Store, Store: n.records, Cluster: n.config.Cluster, Instance: n.facts.Instance.ID,
		Instances: ec2States(n.clients), Path: a.host.Path,
	}
	if out.Spool, err = a.host.Path(n.config.Etcd.Backup.SpoolDir); err != nil {
		return nil, err
	}
	for _, member := range looked.Plan.Etcd {
		if member.Name != cluster {
			continue
		}
		out.Member = &member
		out.Dial = func(ctx context.Context, endpoints []peers.Endpoint) (*peers.Client, error) {
			return a.dialEtcd(ctx, n.inputs, member, endpoints)
		}
	}
	return out, nil
}
