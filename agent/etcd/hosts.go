package etcd

import (
	"bytes"
	"context"
	"fmt"
	"net/url"

	"rekindle/agent/plan"
)

// hosts are the lines that map the names in the members' URLs to their addresses; nil when nobody knows them now.
func hosts(member plan.Etcd, record *Lineage) []byte {
	if record == nil {
		return nil
	}
	var lines bytes.Buffer
	for _, m := range record.Members {
		u, err := url.Parse(m.PeerURL)
		if err != nil || m.Address == "" || u.Hostname() == m.Address {
			continue
		}
		fmt.Fprintf(&lines, "%s %s\n", m.Address, u.Hostname())
	}
	return lines.Bytes()
}

// tellHosts keeps the machine's hosts file as the record has it.
func (k *Keeper) tellHosts(ctx context.Context, member plan.Etcd, record *Lineage) error {
	lines := hosts(member, record)
	if lines == nil || k.Hosts == nil {
		return nil
	}
	if err := k.Hosts(ctx, member, lines); err != nil {
		return fmt.Errorf("etcd %s: the names of its members: %w", member.Name, err)
	}
	return nil
}
