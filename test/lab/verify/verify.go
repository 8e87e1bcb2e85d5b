// Package verify looks at a region after its nodes have booted, and says whether they are what they claim to be. It
// reads the trees, the store and the sockets itself, and takes the agent's word only for what it then compares.
//
// To add a check: a method of Suite that returns what it saw, entered in Suite.Checks.
package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/plan"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

// checkLimit bounds each check.
const checkLimit = 30 * time.Second

// Suite is one region that has booted.
type Suite struct {
	Region *region.Region
	Binary string // the agent, for its plan of each node
	Store  string // s3://bucket/prefix
	Assets string // the directory that was published
	Sniff  *Sniffer
	// Requests are the counts of each instance's boot, by service.
	Requests map[string]map[string]int

	plans map[string]*plan.Plan
}

// Check is one question.
type Check struct {
	Name string
	// Run returns what it saw, for people, and an error when that is not as it should be.
	Run func(context.Context) (saw string, err error)
}

// Checks are all questions in their order. The one that restarts the agents is the last but one.
func (s *Suite) Checks() []Check {
	return []Check{
		{"ready", s.ready},
		{"objects", s.objects},
		{"digests", s.digests},
		{"etcd", s.etcd},
		{"kubelet", s.kubelet},
		{"identity", s.identity},
		{"kubelets", s.kubelets},
		{"discovery", s.discovery},
		{"secrets", s.secrets},
		{"requests", s.requests},
		{"again", s.again},
		{"loopback", s.loopback},
	}
}

// Run runs a check within its limit.
func (c Check) run(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	return c.Run(ctx)
}

// Tell shows the result of a check.
type Tell func(name, saw string, took time.Duration, err error)

// Run runs all checks and tells each result. It returns an error when one failed.
func (s *Suite) Run(ctx context.Context, tell Tell) error { return s.these(ctx, tell, s.Checks()) }

func (s *Suite) these(ctx context.Context, tell Tell, checks []Check) error {
	if err := s.readPlans(ctx); err != nil {
		tell("plans", "", 0, err)
		return err
	}
	failed := 0
	for _, c := range checks {
		start := time.Now()
		saw, err := c.run(ctx)
		if err != nil {
			failed++
		}
		tell(c.Name, saw, time.Since(start), err)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(checks))
	}
	return nil
}

// readPlans asks the agent's binary for the plan of each node, as an operator on the node would.
func (s *Suite) readPlans(ctx context.Context) error {
	nodes := s.Region.Nodes()
	plans := make([]*plan.Plan, len(nodes))
	group, ctx := errgroup.WithContext(ctx)
	for i, n := range nodes {
		group.Go(func() (err error) {
			plans[i], err = readPlan(ctx, s.Binary, n)
			return err
		})
	}
	err := group.Wait()
	s.plans = map[string]*plan.Plan{}
	for i, n := range nodes {
		s.plans[n.ID] = plans[i]
	}
	return err
}

func readPlan(ctx context.Context, binary string, n *node.Node) (*plan.Plan, error) {
	cmd := exec.CommandContext(ctx, binary, "plan", "--root", n.Root, "--units", "process")
	cmd.Env = n.Env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("rekindle plan on %s: %w\n%s", n.ID, err, &stderr)
	}
	p, err := plan.Read(bytes.NewReader(out))
	if err != nil {
		return nil, fmt.Errorf("rekindle plan on %s: %w", n.ID, err)
	}
	return p, nil
}

// ready wants every agent to say so, and every unit of its plan to run.
func (s *Suite) ready(context.Context) (string, error) {
	nodes, units := s.Region.Nodes(), 0
	var errs []error
	for _, n := range nodes {
		now, err := n.Status()
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", n.ID, err))
			continue
		case now.ExitCode() != 0:
			errs = append(errs, fmt.Errorf("%s: %s: %s", n.ID, now.Reason, now.Message))
		}
		for _, u := range now.Units {
			if u.State != "active" {
				errs = append(errs, fmt.Errorf("%s: %s is %s: %s", n.ID, u.Name, u.State, u.Message))
			}
			units++
		}
	}
	if len(nodes) == 0 || units == 0 {
		errs = append(errs, errors.New("no nodes, or no units"))
	}
	return fmt.Sprintf("%d instances, %d units active", len(nodes), units), errors.Join(errs...)
}

// requests wants a node whose tags are in IMDS to have asked EC2 nothing.
func (s *Suite) requests(context.Context) (string, error) {
	var errs []error
	var saw []string
	for _, n := range s.Region.Nodes() {
		if p := s.plans[n.ID]; p.Role == "master" || p.Role == "etcd" {
			continue // masters look for each other by tags
		}
		counts := s.Requests[n.ID]
		if counts["ec2"] > 0 || counts["imds"] == 0 || counts["s3"] == 0 {
			errs = append(errs, fmt.Errorf("%s: %v", n.ID, counts))
		}
		saw = append(saw, fmt.Sprintf("%s imds %d, s3 %d, ec2 %d", s.plans[n.ID].Role, counts["imds"], counts["s3"], counts["ec2"]))
	}
	return strings.Join(saw, "; "), errors.Join(errs...)
}
