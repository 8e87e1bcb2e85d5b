package facts

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"rekindle/agent/status"
)

func TestParseTags(t *testing.T) {
	for _, tt := range []struct {
		tags          string // key=value, by space
		cluster, role string
		conflict      string
	}{
		{tags: ""},
		{tags: "Name=x aws:autoscaling:groupName=g"},
		{tags: "rekindle:cluster=prod rekindle:role=minion", cluster: "prod", role: "minion"},
		{tags: "rekindle:role=spark", role: "spark"},
		{tags: "KubernetesCluster=prod k8s.io/role/master=1", cluster: "prod", role: "master"},
		{tags: "kubernetes.io/cluster/prod=owned k8s.io/role/control-plane=1", cluster: "prod", role: "master"},
		{tags: "kubernetes.io/cluster/prod=shared k8s.io/role/node=1", cluster: "prod", role: "minion"},
		{tags: "kubernetes.io/cluster/prod=true"},
		{tags: "k8s.io/role/node=", role: "minion"},
		{tags: "k8s.io/role/node=0 k8s.io/role/bastion=1"},
		{tags: "k8s.io/role/master=1 k8s.io/role/control-plane=1", role: "master"},
		{tags: "rekindle:cluster=prod KubernetesCluster=prod kubernetes.io/cluster/prod=owned", cluster: "prod"},
		{tags: "rekindle:role=loadbalancer k8s.io/role/node=1", role: "loadbalancer"},
		{tags: "rekindle:role= rekindle:cluster="},
		{tags: "rekindle:role= k8s.io/role/master=1", role: "master"},

		{tags: "kubernetes.io/cluster/a=owned kubernetes.io/cluster/b=shared", conflict: "cluster"},
		{tags: "KubernetesCluster=a kubernetes.io/cluster/b=owned", conflict: "cluster"},
		{tags: "rekindle:cluster=a KubernetesCluster=b", conflict: "cluster"},
		{tags: "k8s.io/role/master=1 k8s.io/role/node=1", conflict: "role"},
		{tags: "rekindle:role=minion k8s.io/role/master=1", conflict: "role"},
		{tags: "rekindle:role=master k8s.io/role/node=1", conflict: "role"},
	} {
		tags := map[string]string{}
		for f := range strings.FieldsSeq(tt.tags) {
			k, v, _ := strings.Cut(f, "=")
			tags[k] = v
		}
		cluster, role, err := ParseTags(tags)
		if tt.conflict != "" {
			wantReason(t, err, status.ReasonRoleUnknown, "two answers for the "+tt.conflict, "remove the tag")
			continue
		}
		if cluster != tt.cluster || role != tt.role || err != nil {
			t.Errorf("%s: %q, %q, %v", tt.tags, cluster, role, err)
		}
	}
}

// reader reads the tags of a node that needs all of them.
func reader(imds IMDS, api *tagsAPI) *tagReader {
	r := &tagReader{
		metadata: NewMetadata(imds), instance: "i-0abc", needCluster: true, needRole: true, timeout: time.Minute,
		log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if api != nil {
		r.ec2 = func(context.Context) (ec2.DescribeTagsAPIClient, error) { return api, nil }
	}
	return r
}

func page(next string, tags ...string) *ec2.DescribeTagsOutput {
	out := &ec2.DescribeTagsOutput{}
	if next != "" {
		out.NextToken = &next
	}
	for n := 0; n < len(tags); n += 2 {
		out.Tags = append(out.Tags, types.TagDescription{Key: &tags[n], Value: &tags[n+1]})
	}
	return out
}

var minionTags = map[string]string{"rekindle:cluster": "prod", "rekindle:role": "minion"}

func TestTagsInIMDSNeedNoEC2(t *testing.T) {
	imds, api := &memory{values: map[string]string{}}, &tagsAPI{}
	imds.setTags(minionTags)
	tags, err := reader(imds, api).read(t.Context())
	if err != nil || tags.Source != "imds" || tags.Role != "minion" || tags.Cluster != "prod" || api.calls != 0 {
		t.Errorf("%+v, %v, %d calls", tags, err, api.calls)
	}
}

func TestTagsInIMDSThatComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		imds, api, w := &memory{values: map[string]string{}}, &tagsAPI{}, new(waits)
		imds.setTags(map[string]string{"Name": "x"})
		time.AfterFunc(30*time.Second, func() { imds.setTags(minionTags) })
		start := time.Now()
		tags, err := reader(imds, api).read(status.WithWaits(t.Context(), w))
		if err != nil || tags.Role != "minion" {
			t.Fatalf("%+v, %v", tags, err)
		}
		if took := time.Since(start); took > 38*time.Second {
			t.Errorf("found after %s", took)
		}
		if api.calls != 0 {
			t.Errorf("EC2 was asked %d times", api.calls)
		}
		if len(w.names) != 1 || w.names[0] != "tags: cluster and role" || w.open != 0 {
			t.Errorf("%+v", w)
		}
	})
}

func TestTagsFromEC2(t *testing.T) {
	api := &tagsAPI{do: func(in *ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error) {
		if len(in.Filters) != 1 || *in.Filters[0].Name != "resource-id" || in.Filters[0].Values[0] != "i-0abc" {
			t.Errorf("filters %+v", in.Filters)
		}
		if in.NextToken == nil {
			return page("1"), nil // empty, with a successor
		}
		if *in.NextToken == "1" {
			return page("2", "KubernetesCluster", "prod"), nil
		}
		return page("", "k8s.io/role/node", "1"), nil
	}}
	tags, err := reader(&memory{}, api).read(t.Context())
	if err != nil || tags.Source != "ec2" || tags.Cluster != "prod" || tags.Role != "minion" || len(tags.All) != 2 {
		t.Errorf("%+v, %v", tags, err)
	}
	if api.calls != 3 {
		t.Errorf("%d calls", api.calls)
	}
}

func TestTagsInEC2ThatComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		api := &tagsAPI{do: func(*ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error) {
			switch since := time.Since(start); {
			case since < 10*time.Second:
				return page(""), nil
			case since < 20*time.Second:
				return nil, &smithy.GenericAPIError{Code: "RequestLimitExceeded"}
			case since < 30*time.Second: // the cluster first, the role later
				return page("", "KubernetesCluster", "prod"), nil
			}
			return page("", "KubernetesCluster", "prod", "k8s.io/role/master", "1"), nil
		}}
		tags, err := reader(&memory{}, api).read(t.Context())
		if err != nil || tags.Role != "master" || time.Since(start) > 38*time.Second {
			t.Errorf("%+v, %v after %s", tags, err, time.Since(start))
		}
	})
}

// A node whose role nobody names is nothing; above all it is no minion.
func TestRoleThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &tagsAPI{do: func(*ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error) {
			return page("", "KubernetesCluster", "prod"), nil
		}}
		start := time.Now()
		tags, err := reader(&memory{}, api).read(t.Context())
		wantReason(t, err, status.ReasonRoleUnknown, "rekindle:role", "k8s.io/role/{master,control-plane,node}",
			"among the 1 tags of i-0abc", "says EC2", "user-data")
		if tags.Role != "" || time.Since(start) != time.Minute {
			t.Errorf("%+v after %s", tags, time.Since(start))
		}
		if strings.Contains(err.Error(), "no cluster") {
			t.Errorf("the cluster is known: %v", err)
		}
		if api.calls > 30 {
			t.Errorf("%d calls in a minute", api.calls)
		}
	})
}

func TestTagsDenied(t *testing.T) {
	denied := &smithy.OperationError{
		ServiceID: "EC2", OperationName: "DescribeTags", Err: &smithy.GenericAPIError{Code: "UnauthorizedOperation"},
	}
	synctest.Test(t, func(t *testing.T) {
		api := &tagsAPI{do: func(*ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error) { return nil, denied }}
		start := time.Now()
		_, err := reader(&memory{}, api).read(t.Context())
		wantReason(t, err, status.ReasonTagsDenied, "ec2:DescribeTags")
		if took := time.Since(start); took < deniedTimeout || took > deniedTimeout+2*tagMaxPause {
			t.Errorf("gave up after %s", took)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a policy that works only after a while
		start := time.Now()
		api := &tagsAPI{do: func(*ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error) {
			if time.Since(start) < 20*time.Second {
				return nil, denied
			}
			return page("", "rekindle:cluster", "prod", "rekindle:role", "etcd"), nil
		}}
		if tags, err := reader(&memory{}, api).read(t.Context()); err != nil || tags.Role != "etcd" {
			t.Errorf("%+v, %v", tags, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // refused twice, with an answer in between: neither took too long
		start := time.Now()
		api := &tagsAPI{do: func(*ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error) {
			switch since := time.Since(start); {
			case since < 15*time.Second, since > 25*time.Second && since < 40*time.Second:
				return nil, denied
			case since < 50*time.Second:
				return page(""), nil
			}
			return page("", "rekindle:cluster", "prod", "rekindle:role", "etcd"), nil
		}}
		if tags, err := reader(&memory{}, api).read(t.Context()); err != nil || tags.Role != "etcd" {
			t.Errorf("%+v, %v", tags, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // IMDS serves tags after all, as soon as there are some
		imds := &memory{values: map[string]string{}}
		time.AfterFunc(10*time.Second, func() { imds.setTags(minionTags) })
		api := &tagsAPI{do: func(*ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error) { return nil, denied }}
		if tags, err := reader(imds, api).read(t.Context()); err != nil || tags.Source != "imds" {
			t.Errorf("%+v, %v", tags, err)
		}
	})
}

func TestConfigurationThatSaysItAll(t *testing.T) {
	for name, imds := range map[string]*memory{
		"without IMDS tags": {},
		"with others":       {values: map[string]string{"meta-data/tags/instance": "Name", "meta-data/tags/instance/Name": "x"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			api := &tagsAPI{}
			r := reader(imds, api)
			r.needCluster, r.needRole = false, false
			start := time.Now()
			tags, err := r.read(t.Context())
			if err != nil || tags.Role != "" || api.calls != 0 || time.Since(start) != 0 {
				t.Errorf("%s: %+v, %v, %d calls after %s", name, tags, err, api.calls, time.Since(start))
			}
		})
	}
}

func TestConflictingTagsEndTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		imds := &memory{values: map[string]string{}}
		imds.setTags(map[string]string{"rekindle:cluster": "a", "KubernetesCluster": "b"})
		start := time.Now()
		_, err := reader(imds, nil).read(t.Context())
		wantReason(t, err, status.ReasonRoleUnknown, "two answers")
		if time.Since(start) != 0 {
			t.Errorf("waited %s", time.Since(start))
		}
	})
}

func TestWaitForTagsStopsWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(7*time.Second, cancel)
		_, err := reader(&memory{}, nil).read(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestTagThatIsRemovedMeanwhile(t *testing.T) {
	imds := &memory{values: map[string]string{}}
	imds.setTags(minionTags)
	imds.set("meta-data/tags/instance", "gone\nrekindle:cluster\nrekindle:role")
	all, enabled, err := NewMetadata(imds).Tags(t.Context())
	if err != nil || !enabled || len(all) != 2 {
		t.Errorf("%v, %t, %v", all, enabled, err)
	}
}
