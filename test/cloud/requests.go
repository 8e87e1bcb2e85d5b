package cloud

import (
	"slices"
	"sync"
	"time"
)

// Request is one request that reached the cloud, refused ones included.
type Request struct {
	Time        time.Time
	Service     string // imds, ec2, autoscaling, sts, ssm, kms, route53
	Action      string // DescribeTags; for imds GetToken or Get
	Path        string
	Instance    string // who asked: from the access key that the instance's IMDS gave out; empty: another caller
	AccessKeyID string
	Status      int    // 0: the connection was reset, or the client gave up
	Code        string // of the error
	Faults      []string
}

// Counter is what [Cloud.Counts] counts by.
type Counter struct{ Instance, Service, Action string }

// Requests lists what was asked so far, in the order of completion.
func (c *Cloud) Requests() []Request {
	c.requests.mu.Lock()
	defer c.requests.mu.Unlock()
	return slices.Clone(c.requests.all)
}

// Counts says how many requests each instance sent to each action.
func (c *Cloud) Counts() map[Counter]int {
	counts := map[Counter]int{}
	for _, r := range c.Requests() {
		counts[Counter{r.Instance, r.Service, r.Action}]++
	}
	return counts
}

// ServiceCounts says how many requests an instance sent to each service.
func (c *Cloud) ServiceCounts(instance string) map[string]int {
	counts := map[string]int{}
	for _, r := range c.Requests() {
		if r.Instance == instance {
			counts[r.Service]++
		}
	}
	return counts
}

// ResetRequests forgets the requests so far.
func (c *Cloud) ResetRequests() {
	c.requests.mu.Lock()
	defer c.requests.mu.Unlock()
	c.requests.all = nil
}

type recorder struct {
	mu  sync.Mutex
	all []Request
}

func (r *recorder) add(q Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, q)
}
