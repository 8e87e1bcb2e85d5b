package facts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"rekindle/agent/aws"
	"rekindle/agent/status"
)

const (
	tagTimeout    = 5 * time.Minute        // default of Options.RoleTimeout
	tagMinPause   = 300 * time.Millisecond // between two looks at the tags
	tagMaxPause   = 4 * time.Second
	deniedTimeout = 30 * time.Second // a policy attached at launch may take a while to work; longer is a mistake
)

// tagReader finds the tags of one instance: in IMDS when it serves them, else in EC2.
type tagReader struct {
	metadata *Metadata
	ec2      func(context.Context) (ec2.DescribeTagsAPIClient, error) // nil: IMDS only
	instance string
	// needCluster and needRole: the configuration does not say it.
	needCluster, needRole bool
	timeout               time.Duration
	log                   *slog.Logger

	client ec2.DescribeTagsAPIClient // made when it is first needed
	denied time.Time                 // since when EC2 refuses
}

// read waits until the tags that are needed are there: Auto Scaling and CloudFormation add tags after the launch.
//
// With everything in the configuration it reads what IMDS has and neither waits nor asks EC2.
func (r *tagReader) read(ctx context.Context) (Tags, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	began, pause, waited := time.Now(), tagMinPause, func() {}
	defer func() { waited() }()
	for first := true; ; first = false {
		tags, err := r.look(ctx)
		if err == nil && r.enough(tags) {
			return tags, nil
		}
		if final, ok := errors.AsType[*status.Error](err); ok && final.Reason == status.ReasonRoleUnknown {
			return Tags{}, err // the tags contradict each other
		}
		if r.refusedFor(err) > deniedTimeout {
			return Tags{}, err
		}
		if first {
			waited = status.Waiting(ctx, "tags: "+r.wanted(), "a tag of "+r.instance+" that names it")
			r.log.Info("waiting for tags", "instance", r.instance, "wanted", r.wanted(), "source", tags.Source, "err", err)
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return Tags{}, fmt.Errorf("tags: %w", context.Cause(ctx))
			}
			return Tags{}, r.missing(tags, err, time.Since(began))
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(pause*3/2, tagMaxPause)
	}
}

// look reads the tags once. IMDS that serves tags is believed: EC2 knows no others, so a node with IMDS tags never
// asks EC2, however long they lag.
func (r *tagReader) look(ctx context.Context) (Tags, error) {
	all, enabled, err := r.fromIMDS(ctx)
	if err != nil {
		return Tags{}, err
	}
	tags := Tags{All: all}
	switch {
	case enabled:
		tags.Source = "imds"
	case r.ec2 == nil || !r.needCluster && !r.needRole:
		return tags, nil
	default:
		if tags.All, err = r.fromEC2(ctx); err != nil {
			return Tags{}, err
		}
		tags.Source = "ec2"
	}
	tags.Cluster, tags.Role, err = ParseTags(tags.All)
	return tags, err
}

func (r *tagReader) fromIMDS(ctx context.Context) (all map[string]string, enabled bool, err error) {
	ctx, step := status.Step(ctx, "imds: tags")
	defer func() { step.Done(err) }()
	return r.metadata.Tags(ctx)
}

func (r *tagReader) fromEC2(ctx context.Context) (all map[string]string, err error) {
	ctx, step := status.Step(ctx, "ec2: tags")
	defer func() { step.Done(err) }()
	if r.client == nil {
		if r.client, err = r.ec2(ctx); err != nil {
			return nil, err
		}
	}
	return describeTags(ctx, r.client, r.instance)
}

func (r *tagReader) enough(t Tags) bool {
	return (!r.needCluster || t.Cluster != "") && (!r.needRole || t.Role != "")
}

// refusedFor is how long EC2 has been refusing, without an answer in between.
func (r *tagReader) refusedFor(err error) time.Duration {
	reason, _ := status.ReasonOf(err)
	if err == nil || reason != status.ReasonTagsDenied && reason != status.ReasonCredentials {
		r.denied = time.Time{}
		return 0
	}
	if r.denied.IsZero() {
		r.denied = time.Now()
		r.log.Warn("tags cannot be read", "instance", r.instance, "err", err)
	}
	return time.Since(r.denied)
}

func (r *tagReader) wanted() string {
	switch {
	case !r.needCluster:
		return "role"
	case !r.needRole:
		return "cluster"
	}
	return "cluster and role"
}

// missing is the error at the end of the wait: what was looked for, where, and what was there instead.
func (r *tagReader) missing(t Tags, err error, waited time.Duration) error {
	waited = waited.Round(time.Second)
	if err != nil {
		return fmt.Errorf("tags: no %s after %s: %w", r.wanted(), waited, err)
	}
	var lacks, hints []string
	if r.needCluster && t.Cluster == "" {
		lacks = append(lacks, "no cluster (rekindle:cluster, KubernetesCluster, kubernetes.io/cluster/NAME)")
		hints = append(hints, "rekindle:cluster")
	}
	if r.needRole && t.Role == "" {
		lacks = append(lacks, "no role (rekindle:role, k8s.io/role/{master,control-plane,node})")
		hints = append(hints, "rekindle:role")
	}
	source := map[string]string{"imds": "IMDS", "ec2": "EC2", "": "IMDS, which does not serve tags"}[t.Source]
	return status.Fail(status.ReasonRoleUnknown,
		fmt.Sprintf("tag the instance with %s (propagated from its Auto Scaling group), or set it in user-data",
			strings.Join(hints, " and ")),
		fmt.Errorf("tags: %s among the %d tags of %s after %s, says %s",
			strings.Join(lacks, " and "), len(t.All), r.instance, waited, source))
}

// Tags are the instance's tags in IMDS, read anew each time; enabled is false when IMDS serves none, be it that
// instance-metadata-tags is off or that there are no tags: IMDS answers 404 to both.
func (m *Metadata) Tags(ctx context.Context) (all map[string]string, enabled bool, err error) {
	const list = "meta-data/tags/instance"
	m.forget(list)
	keys, err := m.optional(ctx, list)
	if err != nil || strings.TrimSpace(keys) == "" {
		return nil, false, err
	}
	all = map[string]string{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelKeys)
	for key := range strings.SplitSeq(strings.TrimSpace(keys), "\n") {
		group.Go(func() error {
			m.forget(list + "/" + key)
			value, err := m.get(ctx, list+"/"+key)
			if errors.Is(err, aws.ErrNotFound) {
				return nil // it was removed meanwhile
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			all[key] = value
			return nil
		})
	}
	return all, true, group.Wait()
}

// once turns the SDK's own retries off.
func once(o *ec2.Options) { o.RetryMaxAttempts = 1 }

// describeTags asks EC2. A page may be empty and still have a successor (amazon-ecs-agent #1935).
func describeTags(ctx context.Context, client ec2.DescribeTagsAPIClient, instance string) (map[string]string, error) {
	pages := ec2.NewDescribeTagsPaginator(client, &ec2.DescribeTagsInput{
		Filters: []types.Filter{{Name: new("resource-id"), Values: []string{instance}}},
	})
	all := map[string]string{}
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx, once) // the reader looks again by itself, and its wait has a name
		if err != nil {
			return nil, fmt.Errorf("tags of %s: %w", instance, aws.Explain(err))
		}
		for _, t := range page.Tags {
			if t.Key != nil && t.Value != nil {
				all[*t.Key] = *t.Value
			}
		}
	}
	return all, nil
}
