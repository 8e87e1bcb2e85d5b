package apply_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rekindle/agent/apply"
	"rekindle/agent/config"
	"rekindle/agent/plan"
	"rekindle/agent/status"
)

// story notes what happens, in order: turns, what is written, jobs.
type story struct {
	apply.Host
	*units
	events  []string
	take    error // no turn
	wait    bool  // no turn comes
	end     func(ctx context.Context, err error) error
	outcome error
	taken   bool
}

func (s *story) note(event string) { s.events = append(s.events, event) }

func (s *story) Write(ctx context.Context, files ...apply.File) ([]string, error) {
	written, err := s.Host.Write(ctx, files...)
	for _, p := range written {
		if p != apply.RecordPath {
			s.note("write " + p)
		}
	}
	return written, err
}

func (s *story) Do(ctx context.Context, verb, name string) error {
	s.note(verb + " " + name)
	return s.units.Do(ctx, verb, name)
}

func (s *story) Take(ctx context.Context, what []string) (func(context.Context, error) error, error) {
	s.note("take " + strings.Join(what, " "))
	if s.wait {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if s.take != nil {
		return nil, s.take
	}
	s.taken = true
	return func(ctx context.Context, err error) error {
		if !s.taken {
			s.note("ended twice")
		}
		s.taken, s.outcome = false, err
		s.note("done")
		if s.end != nil {
			return s.end(ctx, err)
		}
		return err
	}, nil
}

// told is the story since the last call.
func (s *story) told() []string {
	events := s.events
	s.events = nil
	return events
}

const etcdUnit = "/etc/systemd/system/etcd.service"

// shared is a node that runs what others of the cluster depend on: a unit, and a static pod.
func shared(t *testing.T) (*node, *plan.Plan, *story) {
	t.Helper()
	n := newNode(t)
	s := &story{Host: n.host, units: n.units}
	n.Engine = n.engine(s, s)
	n.Turns, n.Placed = s, func() { s.note("placed") }
	p := authorized(&plan.Plan{
		Files: []plan.File{
			{Path: etcdUnit, Content: "[Service]\n"},
			{Path: "/etc/systemd/system/kubelet.service", Content: "[Service]\n"},
			{Path: "/etc/etcd.conf", Content: "1"},
			{Path: manifest, Content: "pod @inputs@", Inputs: []string{caCrt}, Exclusive: "kubelet.service"},
			{Path: "/etc/motd", Content: "1"},
		},
		Units: []plan.Unit{
			{Name: "etcd.service", State: plan.Started, Inputs: []string{"/etc/etcd.conf"}, Exclusive: true},
			{Name: "kubelet.service", State: plan.Started},
		},
	})
	n.apply(p)
	n.want("a first boot", s.told(),
		"write "+caKey, "write "+caCrt, "write "+serverKey, "write "+serverCrt, "write "+adminConf,
		"write /etc/etcd.conf", "write "+manifest, "write /etc/motd", "write "+etcdUnit, "write /etc/systemd/system/kubelet.service",
		"placed", "start etcd.service", "start kubelet.service")
	return n, p, s
}

func TestTurns(t *testing.T) {
	for name, c := range map[string]struct {
		change func(n *node, p *plan.Plan)
		want   []string
	}{
		"nothing": {func(*node, *plan.Plan) {}, []string{"placed"}},
		"renewal": {
			func(n *node, _ *plan.Plan) { n.certs.age(serverCrt) },
			[]string{"write " + serverKey, "write " + serverCrt, "placed"},
		},
		"another file": {func(_ *node, p *plan.Plan) { p.Files[4].Content = "2" }, []string{"write /etc/motd", "placed"}},
		"another unit": {
			func(_ *node, p *plan.Plan) { p.Files[1].Content = "[Service]\nX=1\n" },
			[]string{"write /etc/systemd/system/kubelet.service", "placed", "restart kubelet.service"},
		},
		"file": {
			func(_ *node, p *plan.Plan) { p.Files[3].Content = "pod 2" },
			[]string{"take " + manifest, "write " + manifest, "placed", "done"},
		},
		"its inputs": {
			func(n *node, _ *plan.Plan) { n.certs.authorities["etcd"]++ },
			[]string{
				"take " + manifest, "write " + caKey, "write " + caCrt, "write " + serverKey, "write " + serverCrt,
				"write " + adminConf, "write " + manifest, "placed", "done",
			},
		},
		"file that is new": {
			func(_ *node, p *plan.Plan) {
				p.Files = append(p.Files, plan.File{Path: "/etc/kubernetes/manifests/b.yaml", Exclusive: "kubelet.service"})
			},
			[]string{"write /etc/kubernetes/manifests/b.yaml", "placed"},
		},
		"file of a unit that does not run": {
			func(n *node, p *plan.Plan) {
				p.Files[3].Content = "pod 2"
				n.units.active["kubelet.service"] = "inactive"
			},
			[]string{"write " + manifest, "placed", "start kubelet.service"},
		},
		"file's mode": {func(_ *node, p *plan.Plan) { p.Files[3].Mode = 0o600 }, []string{"placed"}},
		"unit": {
			func(_ *node, p *plan.Plan) { p.Files[2].Content = "2" },
			[]string{"take etcd.service", "write /etc/etcd.conf", "placed", "restart etcd.service", "done"},
		},
		"unit that was edited": { // its digest is the one that it was started with
			func(n *node, _ *plan.Plan) {
				_, err := n.host.Write(n.t.Context(), apply.File{Path: "/etc/etcd.conf", Mode: 0o644, Content: []byte("theirs")})
				must(n.t, err)
			},
			[]string{"take etcd.service", "write /etc/etcd.conf", "placed", "restart etcd.service", "done"},
		},
		"unit that only reloads": {
			func(_ *node, p *plan.Plan) { p.Files[2].Content = "2"; p.Units[0].Reload = true },
			[]string{"write /etc/etcd.conf", "placed", "reload etcd.service"},
		},
		"unit that does not run": {
			func(n *node, p *plan.Plan) { p.Files[2].Content = "2"; n.units.active["etcd.service"] = "failed" },
			[]string{"write /etc/etcd.conf", "placed", "start etcd.service"},
		},
		"all": {
			func(_ *node, p *plan.Plan) { p.Files[2].Content, p.Files[3].Content = "2", "pod 2" },
			[]string{"take etcd.service " + manifest, "write /etc/etcd.conf", "write " + manifest, "placed", "restart etcd.service", "done"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, p, s := shared(t)
			c.change(n, p)
			_, err := n.Preview(t.Context(), p)
			must(t, err)
			n.want("preview", s.told())
			n.apply(p)
			n.want("story", s.told(), c.want...)
			n.settled(p)
			n.want("again", s.told(), "placed")
			if s.taken || s.outcome != nil {
				t.Errorf("taken %v, outcome %v", s.taken, s.outcome)
			}
		})
	}
}

// TestNoTurn writes what disrupts nobody, leaves the rest as it is, and does it once it has its turn.
func TestNoTurn(t *testing.T) {
	for name, c := range map[string]struct {
		take   error
		wait   bool
		reason status.Reason
		says   string
	}{
		"store down": {status.Fail(status.ReasonStoreUnreached, "", errors.New("503")), false, status.ReasonStoreUnreached, "503"},
		"any":        {errors.New("odd"), false, status.ReasonApplyFailed, "odd (what runs is left as it is"},
		"deadline":   {nil, true, status.ReasonApplyFailed, "turn: nothing after 30m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, p, s := shared(t)
				n.certs.authorities["etcd"]++
				p.Files[2].Content, p.Files[4].Content = "2", "2"
				p.Files[3].Content = "pod 2 @inputs@"
				s.take, s.wait = c.take, c.wait
				placed := []string{
					"take etcd.service " + manifest, "write " + caKey, "write " + caCrt, "write " + serverKey, "write " + serverCrt,
					"write " + adminConf, "write /etc/etcd.conf", "write /etc/motd", "placed",
				}
				for range 2 {
					report, err := n.Apply(t.Context(), p)
					reason, _ := status.ReasonOf(err)
					if !errors.Is(err, apply.ErrNoTurn) || reason != c.reason || !strings.Contains(errText(err), "no turn to restart etcd.service, "+manifest+": "+c.says) {
						t.Errorf("reason %s: %v", reason, err)
					}
					for _, change := range report.Changes {
						if change.Drift || change.Kind == "unit" || change.Name == manifest {
							t.Errorf("changed %s", change)
						}
					}
					n.want("without a turn", s.told(), placed...)
					placed = []string{"take etcd.service " + manifest, "placed"}
				}
				s.take, s.wait = nil, false
				n.want("with a turn", n.apply(p), "update file "+manifest, "restart unit etcd.service")
				n.want("with a turn", s.told(), "take etcd.service "+manifest, "write "+manifest, "placed", "restart etcd.service", "done")
				n.settled(p)
			})
		})
	}
}

// TestNoTurnThenBack has the operator take the change back before the node could do it: nothing is restarted.
func TestNoTurnThenBack(t *testing.T) {
	n, p, s := shared(t)
	s.take = errors.New("503")
	was := p.Files[3].Content
	p.Files[3].Content = "pod 2"
	if _, err := n.Apply(t.Context(), p); !errors.Is(err, apply.ErrNoTurn) {
		t.Fatal(err)
	}
	p.Files[3].Content = was
	s.told()
	n.settled(p)
	n.want("story", s.told(), "placed")
}

// TestNoTurnThenDropped still owns the file that was left as it was, with which its reader runs on.
func TestNoTurnThenDropped(t *testing.T) {
	n, p, s := shared(t)
	p.Units[1].Inputs = []string{manifest}
	n.apply(p)
	s.take = errors.New("503")
	p.Files[3].Content = "pod 2"
	s.told()
	if _, err := n.Apply(t.Context(), p); !errors.Is(err, apply.ErrNoTurn) {
		t.Fatal(err)
	}
	n.want("story", s.told(), "take "+manifest, "placed")
	p.Files = slices.Delete(p.Files, 3, 4)
	p.Units[1].Inputs = nil
	n.want("dropped", n.apply(p), "remove file "+manifest, "remove dir /etc/kubernetes/manifests", "restart unit kubelet.service")
}

// TestNoTurnButStopped starts a unit that stopped by itself while its turn did not come.
func TestNoTurnButStopped(t *testing.T) {
	n, p, s := shared(t)
	s.take = errors.New("503")
	p.Files[2].Content = "2"
	n.Placed = func() { n.units.active["etcd.service"] = "inactive" }
	_, err := n.Apply(t.Context(), p)
	if !errors.Is(err, apply.ErrNoTurn) || !slices.Contains(s.told(), "start etcd.service") {
		t.Errorf("%v", err)
	}
	n.Placed = nil
	n.settled(p)
}

// TestInterruptedTurn ends with the agent: nothing is written.
func TestInterruptedTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, p, s := shared(t)
		s.wait = true
		p.Files[2].Content, p.Files[4].Content = "2", "2"
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		report, err := n.Apply(ctx, p)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, apply.ErrNoTurn) || !report.Empty() {
			t.Errorf("%v, %q", err, lines(report))
		}
		n.want("story", s.told(), "take etcd.service")
	})
}

// TestTurnEnds once, with what became of the apply, whatever did.
func TestTurnEnds(t *testing.T) {
	sick := errors.New("etcd does not answer")
	for name, c := range map[string]struct {
		spoil   func(n *node, s *story, cancel func())
		outcome string // what the turn is told
		want    []string
	}{
		"unhealthy": {
			func(_ *node, s *story, _ func()) { s.end = func(context.Context, error) error { return sick } },
			"", []string{"apply: turn: etcd does not answer; 2 changes"},
		},
		"failed restart": {
			func(n *node, _ *story, _ func()) { n.units.broken["etcd.service"] = errors.New("exit 1") },
			"exit 1", []string{"apply: units: unit etcd.service: restart: exit 1"},
		},
		"failed restart, unhealthy": {
			func(n *node, s *story, _ func()) {
				n.units.broken["etcd.service"] = errors.New("exit 1")
				s.end = func(context.Context, error) error { return sick }
			},
			"exit 1", []string{"apply: units: ", "exit 1", "etcd does not answer"},
		},
		"failed restart, forgiven": {
			func(n *node, s *story, _ func()) {
				n.units.broken["etcd.service"] = errors.New("exit 1")
				s.end = func(context.Context, error) error { return nil }
			},
			"exit 1", []string{"apply: units: ", "exit 1"},
		},
		"failed write": {
			func(n *node, s *story, _ func()) { n.Host = &faulty{Host: s, Units: n.units, at: 2} },
			"fault", []string{"apply: files: fault"},
		},
		"interrupted": {
			func(n *node, _ *story, cancel func()) { n.Placed = cancel },
			"canceled", []string{"apply: units: context canceled"},
		},
		"panic": {
			func(n *node, _ *story, _ func()) { n.Placed = func() { panic(sick) } },
			"it ended in the middle", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, p, s := shared(t)
			p.Files[2].Content = "2"
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c.spoil(n, s, cancel)
			err := func() (err error) {
				defer func() {
					if r := recover(); r != nil && c.want != nil {
						panic(r)
					}
				}()
				_, err = n.Apply(ctx, p)
				return err
			}()
			for _, want := range c.want {
				if _, ok := errors.AsType[*apply.Error](err); !ok || strings.Count(errText(err), want) != 1 {
					t.Errorf("%q once in: %v", want, err)
				}
			}
			if events := s.told(); slices.Index(events, "done") != len(events)-1 || s.taken {
				t.Errorf("the turn did not end, once and last: %q", events)
			}
			if got := errText(s.outcome); !strings.Contains(got, c.outcome) || (got == "") != (c.outcome == "") {
				t.Errorf("the turn was told %q", got)
			}
		})
	}
}

// TestTurnEndIsBounded ends the wait for health at its deadline.
func TestTurnEndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, p, s := shared(t)
		n.Timeouts = config.Timeouts{Turn: time.Minute}
		s.end = func(ctx context.Context, _ error) error { <-ctx.Done(); return context.Cause(ctx) }
		p.Files[2].Content = "2"
		began := time.Now()
		_, err := n.Apply(t.Context(), p)
		if took := time.Since(began); took != time.Minute || !strings.Contains(errText(err), "turn: end: nothing after 1m0s") {
			t.Errorf("after %s: %v", took, err)
		}
	})
}
