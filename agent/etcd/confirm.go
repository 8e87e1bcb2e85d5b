package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"rekindle/agent/plan"
	"rekindle/agent/status"
	"rekindle/agent/store"
)

// Confirm waits, under ctx, until the member serves, and then records that the cluster has lived: from there on nobody
// may create it again. It says whether it changed the record; then the plan is applied once more, which takes the
// state "new" out of etcd's configuration.
func (k *Keeper) Confirm(ctx context.Context, member plan.Etcd) (changed bool, err error) {
	if err := k.healthy(ctx, member); err != nil {
		return false, err
	}
	raw, version, err := k.Records.Get(ctx, Key(member.Name))
	if err != nil {
		return false, fmt.Errorf("etcd %s: lineage: %w", member.Name, err)
	}
	record, err := ParseLineage(raw)
	if err != nil {
		return false, fmt.Errorf("etcd %s: %w", member.Name, err)
	}
	if record.State != Creating || record.Holder.Instance != k.Instance {
		return false, nil
	}
	record.State = Running
	record.Holder.Nonce = token()
	if err := k.put(ctx, member.Name, record, version); err != nil && !errors.Is(err, store.ErrConflict) {
		return false, fmt.Errorf("etcd %s: lineage: %w", member.Name, err)
	}
	return true, nil
}

// Healthy asks the member once.
func Healthy(ctx context.Context, member plan.Etcd) error {
	url, err := healthURL(member)
	if err != nil {
		return err
	}
	return probe(ctx, url)
}

// healthy asks the metrics listener, which needs no client certificate (etcd's --listen-metrics-urls).
func (k *Keeper) healthy(ctx context.Context, member plan.Etcd) error {
	url, err := healthURL(member)
	if err != nil {
		return err
	}
	defer status.Waiting(ctx, "etcd "+member.Name+": health", url)()
	for {
		last := probe(ctx, url)
		if last == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return status.Fail(status.ReasonEtcdBlocked, "read etcd's log: journalctl -u "+member.Unit+", or crictl logs",
				fmt.Errorf("etcd %s does not answer: %w", member.Name, last))
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
