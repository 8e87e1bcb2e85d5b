package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"

	"rekindle/agent/plan"
)

// etcdMode lets the user that etcd runs as read its configuration, which holds no secret.
const etcdMode = 0o644

// prepareEtcd has every member decided. Members of different clusters know nothing of each other.
func (a *pass) prepareEtcd(ctx context.Context, held []Held) error {
	if a.Etcd == nil {
		return errors.New("etcd: nothing here decides about members")
	}
	configs := make([][]byte, len(a.plan.Etcd))
	group, ctx := errgroup.WithContext(ctx)
	for i, member := range a.plan.Etcd {
		group.Go(func() error {
			ctx, done := waiting(ctx, a.limit.Etcd, "etcd "+member.Name+": prepare", "what member "+member.Member+" is to do")
			defer done()
			var err error
			configs[i], err = a.Etcd.Prepare(ctx, member, a.readHeld(held)) // its error names the cluster
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, member := range a.plan.Etcd {
		a.wants(member.ConfigPath, etcdMode, configs[i])
		a.sums[member.ConfigPath] = sumOf(lasting(configs[i]), etcdMode)
		a.rec.Etcd[member.Name] = memberSum(member)
	}
	return nil
}

// readHeld reads a certificate as it is going to be, and every other file as it is.
func (a *pass) readHeld(held []Held) func(path string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if i := slices.IndexFunc(held, func(h Held) bool { return h.Path == path }); i >= 0 && held[i].Content != nil {
			return held[i].Content, nil
		}
		return a.Host.Read(path)
	}
}

// guessEtcd stands in for prepareEtcd in a preview: a configuration that exists is taken to be right while the plan's
// member is the one that it was made for.
func (a *pass) guessEtcd() error {
	for _, member := range a.plan.Etcd {
		content, err := a.Host.Read(member.ConfigPath)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			a.did(Change{Kind: "etcd", Name: member.Name, Action: "prepare", Detail: "it has no configuration yet"})
		case err != nil:
			return err
		case a.rec.Etcd[member.Name] != memberSum(member):
			a.did(Change{Kind: "etcd", Name: member.Name, Action: "prepare", Detail: "its member differs from what was applied last"})
			a.changed[member.ConfigPath] = true
			fallthrough
		default:
			a.wants(member.ConfigPath, etcdMode, content)
			a.sums[member.ConfigPath] = sumOf(lasting(content), etcdMode)
		}
	}
	return nil
}

// lasting is the part of etcd's configuration that a running member should be restarted for. The initial-cluster lines are
// not: etcd reads them only when it has no data, so turning "new" into "existing" must not bounce the first member.
func lasting(config []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(config) {
		if !bytes.HasPrefix(line, []byte("initial-cluster")) {
			kept = append(kept, line...)
		}
	}
	return kept
}

// restarts tells whether writing f changes what a unit was started with.
func (a *pass) restarts(f File) (bool, error) {
	if !slices.ContainsFunc(a.plan.Etcd, func(m plan.Etcd) bool { return m.ConfigPath == f.Path }) {
		return true, nil
	}
	now, err := a.Host.Read(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return !bytes.Equal(lasting(now), lasting(f.Content)), err
}

func memberSum(m plan.Etcd) string {
	data, err := json.Marshal(m)
	if err != nil { // a value that came from YAML and has no JSON form, such as a mapping with keys that are no text
		data = fmt.Appendf(nil, "%#v", m)
	}
	return hexSum(data)
}
