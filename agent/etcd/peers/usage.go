package peers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Usage is what the keys under one prefix take.
type Usage struct {
	Prefix string
	Keys   int64
	Bytes  int64 // of keys and values, estimated from the first few of them; history is not counted
}

const (
	sample      = 10  // keys whose size stands for all of a prefix
	maxPrefixes = 500 // a cluster with more kinds of objects than this is listed in part
)

// Usage lists what fills the database, the largest first, by the first two parts of the keys: /registry/pods/ and the
// like. It reads a few keys of each, never all of them.
func (c *Client) Usage(ctx context.Context) ([]Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*c.timeout)
	defer cancel()
	var all []Usage
	for from := "\x00"; from != "" && len(all) < maxPrefixes; {
		found, err := c.raw.Get(ctx, from, clientv3.WithFromKey(), clientv3.WithLimit(1), clientv3.WithKeysOnly(), clientv3.WithSerializable())
		if err != nil {
			return nil, fmt.Errorf("keys from %q: %w", from, err)
		}
		if len(found.Kvs) == 0 {
			break
		}
		prefix := Prefix(string(found.Kvs[0].Key))
		some, err := c.raw.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithLimit(sample), clientv3.WithSerializable())
		if err != nil {
			return nil, fmt.Errorf("keys of %q: %w", prefix, err)
		}
		use := Usage{Prefix: prefix, Keys: some.Count}
		for _, kv := range some.Kvs {
			use.Bytes += int64(len(kv.Key) + len(kv.Value))
		}
		if n := int64(len(some.Kvs)); n > 0 {
			use.Bytes = use.Bytes * use.Keys / n
			all = append(all, use)
		}
		from = clientv3.GetPrefixRangeEnd(prefix)
		if from == "\x00" { // no key can come after
			break
		}
	}
	slices.SortFunc(all, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Prefix, b.Prefix))
	})
	return all, nil
}

// Prefix is the group that a key is counted under: up to and with its third slash, or the second, or all of it.
func Prefix(key string) string {
	end := 0
	for range 3 {
		next := strings.IndexByte(key[end:], '/')
		if next < 0 {
			break
		}
		end += next + 1
	}
	if end <= 1 {
		return key
	}
	return key[:end]
}
