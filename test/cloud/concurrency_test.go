package cloud_test

import (
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"rekindle/test/cloud"
)

// TestConcurrency is for the race detector: everything at once, subscribers that call back included.
func TestConcurrency(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	r.Subscribe(cloud.Subscriber{OnLaunch: func(i *cloud.Instance) {
		if len(i.Tags()) == 0 || i.State() == "" {
			t.Error("an instance without tags or state")
		}
	}})
	check(t, r.CreateGroup(cloud.GroupSpec{Name: "g", Desired: 3, Template: cloud.InstanceSpec{Role: "r"}}))
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for range 5 {
				i := r.Group("g").Members[0].InstanceID
				k := r.Credentials(i)
				if n%2 == 0 {
					r.Terminate(i)
				}
				if _, err := r.ec2().DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{}); err != nil {
					t.Error(err)
				}
				if _, err := r.sts(k).GetCallerIdentity(t.Context(), nil); err != nil && k.AccessKeyID != "" {
					t.Error(err)
				}
				f := r.Faults().Add(cloud.Fault{Instance: "none", Do: cloud.Deny})
				r.Counts()
				f.Remove()
			}
		})
	}
	wg.Wait()
	r.Settle()
	running := 0
	for _, i := range r.Instances() {
		if i.State() == "running" {
			running++
		}
	}
	equal(t, "running", running, 3)
}
