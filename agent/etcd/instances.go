package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// missingFor is how long EC2 must not find an instance before that means that it is gone: one that was just launched can be
// invisible for a while (https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html), and one that was
// terminated is visible for about an hour.
const missingFor = 2 * time.Minute

// Word is EC2's word on instances.
type Word struct {
	Describe func(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	Self     string  // this instance: an answer without it comes from another account or region
	Memory   *Memory // since when EC2 has not found an instance; nil: this one's own
	own      Memory
}

// Ask says which instances are gone for good, and which are stopped. What it cannot know it leaves out.
func (w *Word) Ask(ctx context.Context, ids []string) (Instances, error) {
	ids = append(slices.Clone(ids), w.Self)
	slices.Sort(ids)
	// Members that somebody added by hand have no instance that EC2 could know.
	ids = slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return !strings.HasPrefix(id, "i-") })
	states, err := w.states(ctx, ids)
	if err != nil {
		return Instances{}, err
	}
	if _, found := states[w.Self]; !found {
		return Instances{}, fmt.Errorf("EC2 does not find this very instance, %s: its word on others is worth nothing", w.Self)
	}
	word := Instances{Gone: map[string]bool{}, Stopped: map[string]bool{}}
	m := cmp.Or(w.Memory, &w.own)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.missing == nil {
		m.missing = map[string]time.Time{}
	}
	for _, id := range ids {
		state, found := states[id]
		switch {
		case !found && m.missing[id].IsZero():
			m.missing[id] = time.Now()
		case !found:
			word.Gone[id] = time.Since(m.missing[id]) >= missingFor
		default:
			delete(m.missing, id)
			word.Gone[id] = state == types.InstanceStateNameTerminated
			word.Stopped[id] = state == types.InstanceStateNameStopped
		}
	}
	return word, nil
}

// states asks by filter: asked by id, EC2 answers nothing at all when one of them does not exist.
func (w *Word) states(ctx context.Context, ids []string) (map[string]types.InstanceStateName, error) {
	states := map[string]types.InstanceStateName{}
	in := &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("instance-id"), Values: ids}}}
	for {
		out, err := w.Describe(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("ec2:DescribeInstances: %w", err)
		}
		for _, reservation := range out.Reservations {
			for _, i := range reservation.Instances {
				if i.InstanceId == nil || i.State == nil {
					return nil, errors.New("ec2:DescribeInstances: an instance without id or state")
				}
				states[*i.InstanceId] = i.State.Name
			}
		}
		if aws.ToString(out.NextToken) == "" {
			return states, nil
		}
		in.NextToken = out.NextToken
	}
}
