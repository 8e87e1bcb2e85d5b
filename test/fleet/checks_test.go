//go:build fleet

package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/discovery"
	"rekindle/agent/etcd"
	"rekindle/agent/status"
	"rekindle/test/lab/node"
)

// proxied is what the cluster's name stands for on nodes with a proxy of their own.
const proxied = "127.0.0.1"

// look is an error unless the cluster is whole: what it says of itself, and what is really there.
func (f *fleet) look(ctx context.Context) error {
	all := f.all()
	masters := of(all, "master")
	for role, want := range sizes {
		if got := len(of(all, role)); got != want {
			return fmt.Errorf("%d machines are %ss, not %d", got, role, want)
		}
	}
	var errs []error
	for _, m := range all {
		errs = append(errs, named(m, f.says(m)))
	}
	if err := errors.Join(errs...); err != nil {
		return err // what follows takes longer
	}
	for _, m := range all {
		errs = append(errs, named(m, f.knows(m, all)))
	}
	if err := errors.Join(append(errs, f.host(all), f.seeds(ctx, masters))...); err != nil {
		return err
	}
	if err := f.member(ctx, masters); err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	if _, err := f.writer.check(ctx); err != nil {
		return err
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(4)
	for _, m := range all {
		work.Go(func() error { return named(m, f.asked(ctx, m)) })
	}
	return work.Wait()
}

func named(m *machine, err error) error {
	if err != nil {
		return fmt.Errorf("%s %s: %w", m.Group, m.ID, err)
	}
	return nil
}

// says wants the agent to say that it is ready. Without S3 it may say that it is not well.
func (f *fleet) says(m *machine) error {
	s, err := m.status()
	if err != nil {
		return err
	}
	if s.State != status.StateReady && !(f.storeAway && s.State == status.StateDegraded) {
		wait := ""
		for _, w := range s.Waits {
			wait += "; waits for " + w.For
		}
		return fmt.Errorf("%s: %s %s%s", s.State, s.Reason, s.Message, wait)
	}
	return nil
}

// asked wants a machine without a failed unit, whose agent is there and stands behind what it wrote, and an API server that
// answers where the machine's kubelet looks for it.
func (f *fleet) asked(ctx context.Context, m *machine) error {
	failed, err := m.Run(ctx, "systemctl", "--failed", "--plain", "--no-legend")
	if err != nil || failed != "" {
		return fmt.Errorf("failed units: %s: %w", failed, err)
	}
	if _, err := m.Run(ctx, "rekindle", "status"); err != nil && !f.storeAway {
		return err
	}
	return m.apiServes(ctx)
}

// knows wants a machine to know exactly those that it can see, and every name to stand for the right addresses.
func (f *fleet) knows(m *machine, seen []*machine) error {
	peers, err := status.ReadPeers(m.Path("/run/rekindle/peers.json"))
	if err != nil {
		return err
	}
	var alive []string
	for _, p := range peers.Filter(nil, []string{"alive", "suspect"}).Peers {
		alive = append(alive, p.Instance)
	}
	slices.Sort(alive)
	if want := ids(seen); !slices.Equal(alive, want) {
		return fmt.Errorf("it takes for alive %v, that are %v", alive, want)
	}
	masters := of(seen, "master")
	want := map[string][]string{}
	for _, master := range masters {
		name := "etcd-" + master.Zone + ".internal.demo"
		want[name] = append(want[name], master.PrivateIP.String())
		if name := "api.internal.demo"; m.Group == "master" {
			want[name] = append(want[name], master.PrivateIP.String())
		} else {
			want[name] = []string{proxied}
		}
	}
	if m.Group == "master" {
		for _, master := range of(f.all(), "master") { // a member stays one while it is not seen
			want[master.ID+".main.etcd.internal.demo"] = []string{master.PrivateIP.String()}
		}
	}
	hosts, err := os.ReadFile(m.Path("/etc/hosts"))
	if err != nil {
		return err
	}
	return equalNames(namesOf(string(hosts)), want)
}

// namesOf are the cluster's names in a hosts file.
func namesOf(hosts string) map[string][]string {
	names := map[string][]string{}
	for line := range strings.Lines(hosts) {
		if words := strings.Fields(line); len(words) == 2 && strings.HasSuffix(words[1], ".demo") {
			names[words[1]] = append(names[words[1]], words[0])
		}
	}
	return names
}

func equalNames(got, want map[string][]string) error {
	for _, names := range []map[string][]string{got, want} {
		for name := range names {
			slices.Sort(got[name])
			slices.Sort(want[name])
			if !slices.Equal(got[name], want[name]) {
				return fmt.Errorf("/etc/hosts: %s is %v, not %v", name, got[name], want[name])
			}
		}
	}
	return nil
}

// member wants one etcd: in the store's record, in what each member says of the others, and in what each holds.
func (f *fleet) member(ctx context.Context, masters []*machine) error {
	record, err := f.etcd().Lineage(ctx)
	if err != nil {
		return err
	}
	if record.UID != f.lineage.UID || record.Generation != f.lineage.Generation || record.State != etcd.Running || record.Change != nil {
		return fmt.Errorf("the record is of %s, generation %d, %s, change %+v; it was of %s, generation %d",
			record.UID, record.Generation, record.State, record.Change, f.lineage.UID, f.lineage.Generation)
	}
	var listed []string
	for _, m := range record.Members {
		if m.Learner || m.Lost != "" {
			return fmt.Errorf("the record has a member that does not vote: %+v", m)
		}
		listed = append(listed, m.Instance)
	}
	slices.Sort(listed)
	if want := ids(masters); !slices.Equal(listed, want) {
		return fmt.Errorf("the record has the members %v; the masters are %v", listed, want)
	}
	members, err := f.writer.client.MemberList(ctx)
	if err != nil {
		return err
	}
	listed = nil
	for _, m := range members.Members {
		if m.IsLearner {
			return fmt.Errorf("%s is a learner", m.Name)
		}
		listed = append(listed, m.Name)
	}
	slices.Sort(listed)
	if want := ids(masters); !slices.Equal(listed, want) {
		return fmt.Errorf("its members are %v; the masters are %v", listed, want)
	}
	return f.same(ctx, masters)
}

// same wants the members to hold the same at one revision, byte by byte, under one leader.
func (f *fleet) same(ctx context.Context, masters []*machine) error {
	now, err := f.writer.client.Get(ctx, "\x00")
	if err != nil {
		return err
	}
	type view struct {
		cluster, leader uint64
		hash            uint32
		from            int64
	}
	var first view
	for i, endpoint := range f.endpoints(masters) {
		says, err := f.writer.client.Status(ctx, endpoint)
		if err != nil {
			return err
		}
		hash, err := f.writer.client.HashKV(ctx, endpoint, now.Header.Revision)
		if err != nil {
			return err
		}
		v := view{says.Header.ClusterId, says.Leader, hash.Hash, hash.CompactRevision}
		if i == 0 {
			first = v
		}
		if v != first || len(says.Errors) > 0 {
			return fmt.Errorf("%s has %+v at revision %d, %s has %+v; it complains of %v", endpoint, v, now.Header.Revision, masters[0].ID, first, says.Errors)
		}
	}
	return nil
}

// seeds wants every master to be one of the store's. That of one that is gone is taken out within half an hour.
func (f *fleet) seeds(ctx context.Context, masters []*machine) error {
	blobs, err := f.etcd().Region.Store(store)
	if err != nil {
		return err
	}
	seeds, err := discovery.Seeds(ctx, blobs)
	if err != nil {
		return err
	}
	for _, m := range masters {
		if !slices.ContainsFunc(seeds, func(s discovery.Seed) bool { return s.Instance == m.ID }) {
			return fmt.Errorf("%s is not among the seeds in the store", m.ID)
		}
	}
	return nil
}

// host wants nothing of other machines than these on the host: no process, mount or control group.
func (f *fleet) host(all []*machine) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var found []string
	tell := func(id, what string) {
		if !slices.ContainsFunc(all, func(m *machine) bool { return m.ID == id }) {
			found = append(found, "machine-"+id+", "+what)
		}
	}
	for line := range strings.Lines(string(mounts)) {
		if _, below, ok := strings.Cut(line, filepath.Join(f.dir, "machines")+"/"); ok {
			id, _, _ := strings.Cut(below, "/")
			tell(id, "a mount")
		}
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/unified/machine-i-*")
	if err != nil {
		return err
	}
	for _, group := range groups {
		tell(strings.TrimPrefix(filepath.Base(group), "machine-"), "a control group")
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range commands {
		command, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		if _, rest, ok := strings.Cut(string(command), "\x00--machine="); ok {
			id, _, _ := strings.Cut(rest, "\x00")
			tell(id, "a process")
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("the host has something of machines that are gone: %s", strings.Join(found, "; "))
	}
	return nil
}

// ids are those of machines, in order.
func ids(machines []*machine) []string {
	all := make([]string, 0, len(machines))
	for _, m := range machines {
		all = append(all, m.ID)
	}
	slices.Sort(all)
	return all
}

// of are the machines of a role.
func of(machines []*machine, role string) []*machine {
	return slices.DeleteFunc(slices.Clone(machines), func(m *machine) bool { return m.Group != role })
}

// nodes are machines as the lab's checks know them.
func nodes(machines []*machine) []*node.Node {
	var all []*node.Node
	for _, m := range machines {
		all = append(all, m.node())
	}
	return all
}
