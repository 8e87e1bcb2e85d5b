package etcd

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// node is an instance. Its own disk holds the notes and etcd's configuration, and lives as long as it; the volume holds the
// member.
type node struct {
	w       *world
	name    string // of the instance
	address string
	state   types.InstanceStateName
	before  types.InstanceStateName
	since   time.Time // of state
	seen    time.Time // from when EC2 shows it at all
	up      bool      // the machine runs
	volume  *volume
	away    *volume // the volume, while the machine does not see it and has only its own disk
	note    string
	config  []byte
	hosts   string

	wanted     bool // the unit is to run
	retrying   bool // the unit will be started again
	writtenOff bool // by the operator
	etcd       bool // etcd runs
	etcdSince  time.Time
	cutOff     time.Time // until when it does not reach the store
	alone      time.Time // until when it does not reach the other masters
	agent      *agent
	boots      int
	crashes    []*crash      // of its agents, in turn
	fate       func(n *node) // what follows a crash
	told       []*agent      // all of its agents
	stopped    string        // why only the operator can go on
	last       string        // what was decided last
}

func (n *node) apart() bool { return time.Now().Before(n.alone) }

func (n *node) become(state types.InstanceStateName) {
	n.before, n.state, n.since = n.state, state, time.Now()
	n.w.tell(n.name, "is %s", state)
}

func (n *node) ended() bool {
	return n.state == types.InstanceStateNameTerminated || n.state == types.InstanceStateNameShuttingDown
}

// launch starts an instance, with a volume that is free, or a new one.
func (w *world) launch() *node {
	n := &node{w: w, name: fmt.Sprintf("i-%d", len(w.nodes)+1), address: fmt.Sprintf("10.0.0.%d", len(w.nodes)+1), volume: &volume{}}
	w.nodes = append(w.nodes, n)
	n.seen = time.Now()
	if w.faults.stale > 0 {
		n.seen = n.seen.Add(w.between(0, time.Minute))
	}
	if len(w.loose) > 0 && w.chance(w.returns) {
		i := w.rng.IntN(len(w.loose))
		n.volume = w.loose[i]
		n.volume.lost = false
		w.loose = slices.Delete(w.loose, i, i+1)
		w.stats["volumes returned"]++
		w.tell(n.name, "has a volume that was another's")
	}
	n.become(types.InstanceStateNamePending)
	w.later(w.between(time.Second, 8*time.Second), func() {
		if n.state == types.InstanceStateNamePending {
			n.become(types.InstanceStateNameRunning)
			n.boot()
		}
	})
	return n
}

// boot starts the machine, and its agent on it. etcd is started by the agent.
func (n *node) boot() {
	n.up = true
	n.startAgent()
}

// halt ends everything that runs on the machine.
func (n *node) halt(why string) {
	if n.agent != nil {
		n.agent.kill("with the machine: " + why)
	}
	n.stopEtcd(why)
	n.up, n.wanted = false, false
}

// terminate ends an instance for good. Its volume ends with it, or is free for another.
func (n *node) terminate(keep bool) {
	if n.ended() {
		return
	}
	w := n.w
	n.become(types.InstanceStateNameShuttingDown)
	gap := w.between(0, 10*time.Second)
	w.later(gap, func() { n.halt("shutting down") })
	w.later(gap+w.between(time.Millisecond, 20*time.Second), func() {
		n.become(types.InstanceStateNameTerminated)
		n.appears()
		n.volume.lost = true
		if keep && n.volume.data != nil {
			w.loose = append(w.loose, n.volume)
		}
	})
}

// stop stops an instance, which can be started again.
func (n *node) stop() {
	if n.state != types.InstanceStateNameRunning {
		return
	}
	n.become(types.InstanceStateNameStopping)
	n.w.later(n.w.between(0, 20*time.Second), func() {
		if n.state == types.InstanceStateNameStopping {
			n.halt("stopped")
			n.become(types.InstanceStateNameStopped)
		}
	})
}

func (n *node) start() {
	if n.state == types.InstanceStateNameStopped {
		n.become(types.InstanceStateNameRunning)
		n.boot()
	}
}

// reboot ends what runs, and boots again.
func (n *node) reboot(why string) {
	if n.state != types.InstanceStateNameRunning || !n.up {
		return
	}
	n.halt(why)
	n.w.later(5*time.Second, func() {
		if n.state == types.InstanceStateNameRunning && !n.up {
			n.boot()
		}
	})
}

// wipe is the end of a volume's contents.
func (n *node) wipe(why string) {
	n.w.tell(n.name, "its disk is lost: %s", why)
	n.volume = &volume{}
}

// appears mounts the volume that the machine did not see. What was on its own disk instead is hidden from then on.
func (n *node) appears() {
	if n.away == nil {
		return
	}
	back := n.away
	n.away = nil
	if d := back.data; d != nil && d.cell.removed[d.id] {
		// The node has become a member anew meanwhile, under its old name. Neither marker nor record tell one from the other,
		// and the old one's data would be started in vain for ever. The protocol has no answer to it yet.
		n.w.stats["open: data of a member before"]++
		return
	}
	n.halt("its disk is seen again")
	n.volume = back
	n.w.tell(n.name, "sees its disk again")
}

// scale is the Auto Scaling group.
func (w *world) scale() {
	for w.pass(7*time.Second + 311) {
		w.locked(func() {
			if have := len(w.masters()); have < w.want && w.chance(0.3) {
				w.launch()
			}
		})
	}
}

// masters are the instances that have not ended.
func (w *world) masters() []*node {
	var all []*node
	for _, n := range w.nodes {
		if !n.ended() {
			all = append(all, n)
		}
	}
	return all
}

// describe is what EC2 says: late about the new, now and then old about all, and two instances a page.
func (a *agent) describe(ctx context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (out *ec2.DescribeInstancesOutput, err error) {
	err = a.op(ctx, "describe", func() error {
		if a.chance(a.w.faults.ec2) {
			return errFault
		}
		from, _ := strconv.Atoi(aws.ToString(in.NextToken)) // without one it is the first page
		var list []types.Instance
		for _, n := range a.w.nodes {
			if state := n.shown(a); state != "" && slices.Contains(in.Filters[0].Values, n.name) {
				list = append(list, types.Instance{InstanceId: aws.String(n.name), State: &types.InstanceState{Name: state}})
			}
		}
		out = &ec2.DescribeInstancesOutput{}
		if from+2 < len(list) {
			out.NextToken = aws.String(fmt.Sprint(from + 2))
		}
		out.Reservations = []types.Reservation{{Instances: list[min(from, len(list)):min(from+2, len(list))]}}
		return nil
	})
	return out, err
}

// shown is a state of the instance as EC2 knows it, "" when it does not find it.
func (n *node) shown(to *agent) types.InstanceStateName {
	age := time.Since(n.since)
	switch {
	case time.Now().Before(n.seen):
		return ""
	case n.state == types.InstanceStateNameTerminated && age > 10*time.Minute:
		return ""
	case age < 40*time.Second && n.before != "" && to.chance(n.w.faults.stale):
		return n.before
	}
	return n.state
}
