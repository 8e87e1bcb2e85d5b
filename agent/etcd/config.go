package etcd

import (
	"fmt"
	"maps"
	"strings"

	"sigs.k8s.io/yaml"

	"rekindle/agent/etcd/datadir"
	"rekindle/agent/plan"
)

// config lays what was decided over the plan's base. others are the members that a joining one has to know, as name=URL.
//
// The state "new" is written for the one start that creates the cluster; Confirm makes the agent write "existing" over
// it. A file that goes on saying "new" would let etcd begin an empty cluster when its data is lost (etcd#12227).
func (k *Keeper) config(member plan.Etcd, marker datadir.Marker, state string, others []string) ([]byte, error) {
	data, err := k.Path(datadir.Data(member.DataDir))
	if err != nil {
		return nil, err
	}
	whole := maps.Clone(member.Base)
	if whole == nil {
		whole = map[string]any{}
	}
	url := member.PeerURLOf(marker.Member)
	maps.Copy(whole, map[string]any{
		"name":                        marker.Member,
		"data-dir":                    data,
		"initial-cluster":             strings.Join(append(others, marker.Member+"="+url), ","),
		"initial-cluster-state":       state,
		"initial-cluster-token":       marker.Token,
		"initial-advertise-peer-urls": url,
		"advertise-client-urls":       member.ClientURLOf(marker.Member),
		"strict-reconfig-check":       true,
	})
	if member.Unit != "" { // a pod has its own file system, where the paths are those of the plan
		if err := k.place(whole); err != nil {
			return nil, err
		}
	}
	text, err := yaml.Marshal(whole)
	if err != nil {
		return nil, fmt.Errorf("etcd %s: configuration: %w", member.Name, err)
	}
	return text, nil
}

// place puts the real paths of certificates and keys into a configuration.
func (k *Keeper) place(whole map[string]any) error {
	for _, name := range []string{"client-transport-security", "peer-transport-security"} {
		section, ok := whole[name].(map[string]any)
		if !ok {
			continue
		}
		section = maps.Clone(section)
		for _, file := range []string{"cert-file", "key-file", "client-cert-file", "client-key-file", "trusted-ca-file"} {
			path, ok := section[file].(string)
			if !ok || path == "" {
				continue
			}
			real, err := k.Path(path)
			if err != nil {
				return err
			}
			section[file] = real
		}
		whole[name] = section
	}
	return nil
}
