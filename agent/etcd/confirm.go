package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"rekindle/agent/etcd/peers"
	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// Confirm waits, under ctx, until the member serves, and brings the record up to what that means: a cluster that was begun is
// running from there on, and nobody may create it again; a learner is promoted. It says whether it changed the record; then
// the plan is applied once more, which takes the state "new" out of etcd's configuration. A member that may not run on is
// stopped meanwhile, and that is an error: Prepare decides anew.
func (k *Keeper) Confirm(ctx context.Context, member plan.Etcd) (changed bool, err error) {
	ctx, end := k.guarding(ctx, member)
	defer end()
	if err := k.healthy(ctx, member); err != nil {
		return false, err
	}
	for {
		more, err := k.confirm(ctx, member)
		changed = changed || more
		switch {
		case errors.Is(err, store.ErrConflict):
			continue
		case errors.Is(err, errAgain):
			if err := k.wait(ctx, member.Name, Action{Why: err.Error(), Hint: "read etcd's log on the leader's node"}); err != nil {
				return changed, err
			}
		case err != nil || !more:
			return changed, err
		}
	}
}

// confirm takes one step, and says whether there may be another.
func (k *Keeper) confirm(ctx context.Context, member plan.Etcd) (more bool, err error) {
	found, err := k.Disk.Inspect(ctx, member)
	if err != nil {
		return false, fmt.Errorf("etcd %s: %w", member.Name, err)
	}
	marker := found.Marker
	record, was, err := k.read(ctx, member.Name)
	if err != nil && marker != nil && !marker.Fresh {
		k.Logger.Warn("the lineage cannot be read; etcd runs on", "etcd", member.Name, "error", err)
		return false, nil
	}
	if err != nil {
		return false, again("the lineage cannot be read: %v", err)
	}
	if marker == nil || marker.UID != record.UID || marker.Generation != record.Generation {
		return false, nil // the next Prepare deals with it
	}
	mine := record.named(marker.Member)
	switch {
	case mine == nil || mine.Instance != k.Instance:
		return false, nil
	case record.State != Running:
		next := record.clone()
		next.State, next.Former, next.FormerGeneration = Running, nil, 0
		return true, k.swap(ctx, member.Name, next, was)
	case marker.Fresh:
		done := *marker
		done.Fresh = false
		return true, k.Disk.Mark(ctx, member, done)
	case mine.Learner:
		return true, k.promote(ctx, member, record, was, *mine)
	case record.Change != nil && record.Change.Kind != Remove && record.Change.Instance == k.Instance && record.Change.Member == mine.Name:
		return true, k.settle(ctx, member, record, was)
	}
	return false, nil
}

// settle ends this node's own change after all of it is made.
func (k *Keeper) settle(ctx context.Context, member plan.Etcd, record *Lineage, was store.Version) error {
	next := record.clone()
	next.Change = nil
	return k.swap(ctx, member.Name, next, was)
}

// promote makes this node's learner a voter: the record first, then etcd, then the record.
func (k *Keeper) promote(ctx context.Context, member plan.Etcd, record *Lineage, was store.Version, mine Member) error {
	change := record.Change
	if change == nil || change.Instance == k.Instance && change.Kind == Add {
		next := record.clone()
		next.Change = &Change{Kind: Promote, Member: mine.Name, Instance: k.Instance}
		return k.swap(ctx, member.Name, next, was)
	}
	if change.Instance != k.Instance || change.Kind != Promote || change.Member != mine.Name {
		return again("%s is about to %s %s", change.Instance, change.Kind, change.Member)
	}
	cluster, err := k.dial(ctx, member, record)
	if err != nil {
		return again("no member to ask: %v", err)
	}
	defer cluster.Close()
	view, err := cluster.View(ctx)
	if err != nil {
		return again("no quorum answers: %v", err)
	}
	c := &changer{Keeper: k, member: member, facts: Facts{Record: record}, was: was, cluster: cluster, view: view}
	there := c.inView(mine)
	if there == nil {
		return again("%s is a member no longer", mine.Name)
	}
	if there.Learner {
		switch err := cluster.Promote(ctx, there.ID); {
		case errors.Is(err, peers.ErrNotReady):
			return again("%s has not caught up with the leader", mine.Name)
		case err != nil && !errors.Is(err, peers.ErrNotLearner):
			return again("promoting %s: %v", mine.Name, err)
		}
	}
	return c.end(ctx, func(r *Lineage) { r.named(mine.Name).Learner = false })
}

// Healthy asks the member once.
func Healthy(ctx context.Context, member plan.Etcd) error {
	url, err := healthURL(member)
	if err != nil {
		return err
	}
	return probe(ctx, url)
}

// Leads tells whether the member knows a leader. One that does not answer may be starting: it is taken to.
func Leads(ctx context.Context, member plan.Etcd) bool {
	err := Healthy(ctx, member)
	return err == nil || !strings.Contains(err.Error(), "NO LEADER")
}

// healthy asks the metrics listener, which needs no client certificate (etcd's --listen-metrics-urls).
func (k *Keeper) healthy(ctx context.Context, member plan.Etcd) error {
	if k.Well != nil {
		return k.Well(ctx, member)
	}
	url, err := healthURL(member)
	if err != nil {
		return err
	}
	wait := status.WaitingOn(ctx, "etcd "+member.Name+": health", url)
	defer wait.Done()
	for {
		last := probe(ctx, url)
		if last == nil {
			return nil
		}
		wait.Update(last.Error())
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return status.Fail(status.ReasonEtcdBlocked, "read etcd's log: journalctl -u "+member.Unit+", or crictl logs",
				fmt.Errorf("etcd %s does not answer: %w: %w", member.Name, last, context.Cause(ctx)))
		}
	}
}

// asking is the client of probes: on the node itself, so through no proxy.
var asking = http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}

func probe(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := asking.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var health struct{ Health, Reason string }
	if err := json.NewDecoder(response.Body).Decode(&health); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if health.Health != "true" {
		return fmt.Errorf("%s: unhealthy: %s", url, health.Reason)
	}
	return nil
}

func healthURL(member plan.Etcd) (string, error) {
	listen, _ := member.Base["listen-metrics-urls"].(string)
	first, _, _ := strings.Cut(listen, ",")
	if first == "" {
		return "", fmt.Errorf("etcd %s: no listen-metrics-urls in the plan, so its health cannot be asked", member.Name)
	}
	return strings.TrimSuffix(first, "/") + "/health", nil
}
