package etcd

import (
	"bytes"
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
