package etcd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"rekindle/agent/plan"
	"rekindle/agent/status"
)

const (
	simCluster = "main"
	etcdLimit  = 30 * time.Minute // config's default
	reapEvery  = time.Minute
	saveEvery  = 45 * time.Second
)

// startAgent starts the agent's process, as systemd does.
func (n *node) startAgent() {
	w := n.w
	if n.agent != nil || !n.up || w.ctx.Err() != nil {
		return
	}
	a := n.newAgent()
	w.wg.Go(func() {
		defer a.cancel()
		a.run()
	})
}

func (n *node) newAgent() *agent {
	w := n.w
	a := &agent{w: w, n: n, rng: rand.New(rand.NewPCG(w.seed, uint64(len(n.name))<<32|uint64(n.boots)<<16|number(n.name))), wake: make(chan string, 1)}
	if n.boots < len(n.crashes) {
		a.crash = n.crashes[n.boots]
	}
	n.boots++
	a.ctx, a.cancel = context.WithCancel(w.ctx)
	a.member = plan.Etcd{
		Name: simCluster, Member: n.name, DataDir: "/var/lib/etcd", Domain: "etcd.test", Address: n.address,
		Scheme: "https", ClientPort: 2379, PeerPort: 2380, Unit: "etcd-main.service", Base: map[string]any{"quota-backend-bytes": 8},
	}
	n.agent = a
	n.told = append(n.told, a)
	return a
}

// keep makes the keeper anew, as every attempt to boot does. What EC2 has not found, and since when, is remembered by the
// agent: with a Word of each attempt's own, two minutes of "not found" would never come together.
func (a *agent) keep() {
	if a.word == nil {
		a.word = &Word{Self: a.n.name, Describe: a.describe}
	}
	a.keeper = &Keeper{
		Records: way{a}, Disk: disk{a}, Notes: memo{a}, Instance: a.n.name, Logger: silentLogger, random: a.random,
		Ask:  Asked{Trace: a.trace, Backups: a.list, Instances: a.word.Ask, Dial: a.dial},
		Path: func(path string) (string, error) { return path, nil },
		Halt: a.haltEtcd, Hosts: a.setHosts, Leads: a.leads, Well: a.well, Observe: a.observe,
	}
}

func number(name string) (h uint64) {
	for _, c := range name {
		h = h*31 + uint64(c)
	}
	return h & 0xffff
}

// run is the agent: boot, then look after what runs, as agent.go and members.go have it.
func (a *agent) run() {
	a.keep()
	for pause := 2 * time.Second; a.sync() != nil; pause = min(2*pause, time.Minute) {
		if a.sleep(a.ctx, pause/2+a.random(pause)) != nil {
			return
		}
		a.keep()
	}
	a.w.wg.Go(func() {
		a.keeper.Watch(a.ctx, a.member, 5*time.Second, func(why string) {
			select {
			case a.wake <- why:
			default:
			}
		})
	})
	a.w.wg.Go(a.care)
	// Those that begin at the same instant take their random numbers one after the other, so that the order is the seed's.
	if a.sleep(a.ctx, 421*time.Microsecond) != nil {
		return
	}
	for {
		select {
		case <-a.wake:
			if a.sleep(a.ctx, 137*time.Microsecond) != nil { // after whoever woke it, so that the order is the seed's
				return
			}
		case <-time.After(10*time.Minute + a.random(time.Minute)):
		case <-a.ctx.Done():
			return
		}
		for pause := 2 * time.Second; a.sync() != nil; pause = min(2*pause, time.Minute) {
			if a.sleep(a.ctx, pause/2+a.random(pause)) != nil {
				return
			}
		}
	}
}

// sync prepares, writes the configuration, starts, confirms, and writes once more.
func (a *agent) sync() error {
	ctx, cancel := context.WithTimeout(a.ctx, etcdLimit)
	defer cancel()
	err := a.apply(ctx)
	if err != nil {
		return err
	}
	changed, err := a.keeper.Confirm(ctx, a.member)
	if err == nil && changed {
		err = a.apply(ctx)
	}
	if err == nil {
		a.w.mu.Lock()
		a.settled = a.ops
		a.w.mu.Unlock()
	}
	return err
}

func (a *agent) apply(ctx context.Context) error {
	config, err := a.keeper.Prepare(ctx, a.member)
	stopped := ""
	if reason, hint := status.ReasonOf(err); err != nil && reason == status.ReasonEtcdBlocked && ctx.Err() == nil {
		stopped = fmt.Sprintf("%v (%s)", err, hint)
	}
	a.w.mu.Lock()
	if !a.dead {
		a.n.stopped = stopped
	}
	a.w.mu.Unlock()
	if err != nil {
		return err
	}
	bounce := false
	if err := a.op(ctx, "write etcd's configuration", func() error {
		bounce = lastingPart(a.n.config) != lastingPart(config)
		a.n.config = config
		return nil
	}); err != nil {
		return err
	}
	return a.op(ctx, "start etcd", func() error {
		if a.n.etcd && bounce {
			a.w.stats["restarts by configuration"]++
			a.n.stopEtcd("its configuration changed")
		}
		a.n.wanted = true
		a.n.startEtcd()
		return nil
	})
}

// lastingPart is what apply restarts etcd for.
func lastingPart(config []byte) string {
	return strings.Join(slices.DeleteFunc(strings.Split(string(config), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "initial-cluster")
	}), "\n")
}

// care is what the leader's node does besides: it brings record and members together, and takes backups.
func (a *agent) care() {
	if a.sleep(a.ctx, 211*time.Microsecond) != nil {
		return
	}
	reap, save := time.Now().Add(reapEvery), time.Now().Add(saveEvery)
	for a.sleep(a.ctx, 2*time.Second+a.random(time.Second)) == nil {
		leads := false
		a.w.mu.Lock()
		if a.n.etcd {
			leads = a.w.leaderOf(a.n.volume.data.cell) == a.n
		}
		a.w.mu.Unlock()
		if !leads {
			continue
		}
		if time.Now().After(reap) {
			reap = time.Now().Add(reapEvery)
			a.reap()
		}
		if time.Now().After(save) {
			save = time.Now().Add(saveEvery)
			a.save()
		}
	}
}

func (a *agent) reap() {
	record, err := a.keeper.Lineage(a.ctx, simCluster)
	if err != nil || record == nil || record.State != Running {
		return
	}
	all := &contact{agent: a}
	for _, m := range record.Members {
		all.endpoints = append(all.endpoints, endpointOf(m))
	}
	did, err := a.keeper.Reap(a.ctx, a.member, all)
	if did != "" || err != nil {
		a.w.mu.Lock()
		a.w.tell(a.n.name, "reaps: %s %v", did, err)
		a.w.mu.Unlock()
	}
}

// save takes a backup: what it holds is of one moment, and it counts at a later one, if the lineage has not moved.
func (a *agent) save() {
	var holds contents
	var generation int
	if a.op(a.ctx, "snapshot", func() error {
		if !a.n.etcd || a.w.leaderOf(a.n.volume.data.cell) != a.n {
			return errSlow
		}
		data := a.n.volume.data
		generation, holds = data.cell.generation, data.upTo(data.cell.committed)
		return nil
	}) != nil || a.sleep(a.ctx, time.Second+a.random(20*time.Second)) != nil {
		return
	}
	record, err := a.keeper.Lineage(a.ctx, simCluster)
	if err != nil || record == nil || record.Generation != generation || record.State != Running {
		return
	}
	_ = a.op(a.ctx, "manifest", func() error {
		if a.down() || a.chance(a.w.faults.store) {
			return errFault
		}
		a.w.save(generation, holds, a.chance(a.w.faults.store/2))
		return nil
	})
}

func (a *agent) haltEtcd(ctx context.Context, _ plan.Etcd) error {
	return a.op(ctx, "stop etcd", func() error {
		a.n.wanted = false
		a.n.stopEtcd("the agent stops it")
		return nil
	})
}

func (a *agent) setHosts(ctx context.Context, _ plan.Etcd, lines []byte) error {
	a.w.mu.Lock()
	same := a.n.hosts == string(lines)
	a.w.mu.Unlock()
	if same {
		return nil
	}
	return a.op(ctx, "hosts", func() error { a.n.hosts = string(lines); return nil })
}

func (a *agent) leads(context.Context, plan.Etcd) bool {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	return !a.n.etcd || a.w.leaderOf(a.n.volume.data.cell) != nil && !a.n.apart()
}

// well is etcd's answer to the question after its health.
func (a *agent) well(ctx context.Context, _ plan.Etcd) error {
	if err := a.sleep(ctx, 97*time.Microsecond); err != nil {
		return err
	}
	for {
		a.w.mu.Lock()
		good := a.n.etcd && !a.n.apart() && a.w.leaderOf(a.n.volume.data.cell) != nil && a.n.volume.data.cell.members[a.n.volume.data.id] != nil
		a.w.mu.Unlock()
		if good {
			return nil
		}
		if err := a.sleep(ctx, time.Second+a.random(100*time.Millisecond)); err != nil {
			return err
		}
	}
}

func (a *agent) observe(_ plan.Etcd, facts Facts, action Action) {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if a.dead || a.w.ctx.Err() != nil {
		return
	}
	a.w.stats["row "+action.Row]++
	if line := action.Row + ": " + action.Why; line != a.n.last {
		a.n.last = line
		a.w.tell(a.n.name, "%s: %s", action.Verdict, line)
	}
}

// startEtcd starts the process on what lies there, with the configuration that lies there.
func (n *node) startEtcd() {
	if n.etcd || !n.up || !n.wanted {
		return
	}
	if err := n.runEtcd(); err != nil {
		n.w.tell(n.name, "etcd: ends: %v", err)
		n.retryEtcd()
	}
}

// retryEtcd is Restart=always.
func (n *node) retryEtcd() {
	if n.retrying {
		return
	}
	n.retrying = true
	n.w.later(5*time.Second+time.Duration(n.w.rng.Int64N(int64(time.Second))), func() {
		n.retrying = false
		n.startEtcd()
	})
}

func (n *node) runEtcd() error {
	var config map[string]any
	if err := yaml.Unmarshal(n.config, &config); err != nil {
		return err
	}
	if n.volume.data == nil {
		data, err := n.firstEtcd(config)
		if err != nil {
			return err
		}
		n.volume.data = data
	}
	data := n.volume.data
	m := data.cell.members[data.id]
	switch {
	case data.gone:
		return fmt.Errorf("it was removed from the cluster for good")
	case n.writtenOff && n.w.record.Generation > data.cell.generation:
		// The operator said that it would not come back, and it does, and cannot read the record. The protocol relies on his word.
		n.w.stats["open: written off, and back without the record"]++
		return fmt.Errorf("the operator wrote it off")
	case data.torn:
		n.w.fail("%s starts etcd on torn data", n.name)
	case m != nil && m.had && len(data.log) == 0:
		return fmt.Errorf("tocommit is out of range: it had entries, and they are gone")
	}
	n.etcd, n.etcdSince = true, time.Now()
	n.w.tell(n.name, "etcd: %s runs in cluster %d, term %d, index %d", data.name, data.cell.number, data.last(), len(data.log))
	return nil
}

// firstEtcd is the start without data: a new cluster, or a seat that is free in one.
func (n *node) firstEtcd(config map[string]any) (*state, error) {
	w := n.w
	name, url, token := config["name"].(string), config["initial-advertise-peer-urls"].(string), config["initial-cluster-token"].(string)
	var urls []string
	for pair := range strings.SplitSeq(config["initial-cluster"].(string), ",") {
		_, u, _ := strings.Cut(pair, "=")
		urls = append(urls, u)
	}
	if config["initial-cluster-state"] == "new" {
		if len(urls) != 1 || urls[0] != url {
			w.fail("%s creates a cluster of %v", n.name, urls)
		}
		return w.firstOfAll(token, name, url), nil
	}
	for _, other := range w.nodes {
		if !other.etcd || other.apart() || n.apart() || !slices.Contains(urls, other.agentURL()) {
			continue
		}
		c := other.volume.data.cell
		if len(c.members) != len(urls) || slices.ContainsFunc(urls, func(u string) bool { return c.seat(u) == nil }) {
			return nil, fmt.Errorf("the member list differs from initial-cluster %v", urls)
		}
		return &state{cell: c, id: c.seat(url).id, name: name}, nil
	}
	return nil, fmt.Errorf("nobody of %v answers", urls)
}

// agentURL is the peer URL of the member that runs.
func (n *node) agentURL() string {
	if m := n.volume.data.cell.members[n.volume.data.id]; m != nil {
		return m.peerURL
	}
	return ""
}

// stopEtcd ends the process; the unit starts it again unless it was stopped.
func (n *node) stopEtcd(why string) {
	if !n.etcd {
		return
	}
	n.etcd = false
	n.w.tell(n.name, "etcd: ends: %s", why)
	if n.wanted && n.up {
		n.retryEtcd()
	}
}
