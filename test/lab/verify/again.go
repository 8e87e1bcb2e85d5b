package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"

	"rekindle/test/lab/node"
)

// again restarts every agent: the second boot must find nothing to do, and the units must not notice.
func (s *Suite) again(ctx context.Context) (string, error) {
	nodes := s.Region.Nodes()
	kept, errs := make([]int, len(nodes)), make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { kept[i], errs[i] = bootAgain(ctx, n) })
	}
	all.Wait()
	sum := 0
	for _, n := range kept {
		sum += n
	}
	return fmt.Sprintf("agents restarted: nothing changed, %d processes kept", sum), errors.Join(errs...)
}

// bootAgain returns how many processes there were before and are still there.
func bootAgain(ctx context.Context, n *node.Node) (int, error) {
	before := units(n)
	if len(before) == 0 {
		return 0, fmt.Errorf("%s: no unit runs", n.ID)
	}
	if err := n.Restart(ctx); err != nil {
		return 0, err
	}
	now, err := n.Ready(ctx)
	if err != nil {
		return 0, err
	}
	if now.Apply.Changes != 0 {
		return 0, fmt.Errorf("%s: the second boot changed %s", n.ID, strings.Join(now.Apply.Changed, ", "))
	}
	if after := units(n); !maps.Equal(before, after) {
		return 0, fmt.Errorf("%s: processes were %v, are %v", n.ID, before, after)
	}
	return len(before), nil
}

// units are the processes of a node's units: PID and start, so that a PID that was used again counts as new.
func units(n *node.Node) map[int]string {
	all := map[int]string{}
	for _, pid := range n.Processes() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		rest := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
		fields := strings.Fields(rest)
		if len(fields) < 20 || fields[0] == "Z" {
			continue
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			continue
		}
		all[pid] = strings.TrimSpace(string(name)) + "@" + fields[19]
	}
	return all
}
