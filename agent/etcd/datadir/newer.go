package datadir

import (
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/raft/v3/raftpb"
)

// newer is data of an etcd that this agent does not know: neither sound nor torn.
type newer string

func (n newer) Error() string {
	return fmt.Sprintf("%s, and this agent knows etcd up to %s: install a newer agent, or go back to that etcd",
		string(n), version.APIVersion)
}

// checkVersion refuses a version, such as "3.7.0", whose minor is above that of the etcd that is built in.
func checkVersion(what, text string) error {
	major, minor, err := parseVersion(text)
	if err != nil {
		return tornf("%s is %.40q: %v", what, text, err)
	}
	ourMajor, ourMinor, err := parseVersion(version.Version)
	if err != nil {
		return err
	}
	if major > ourMajor || major == ourMajor && minor > ourMinor {
		return newer(fmt.Sprintf("%s is %s", what, text))
	}
	return nil
}

func parseVersion(text string) (major, minor int, err error) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) != 3 {
		return 0, 0, fmt.Errorf("no version")
	}
	if major, err = strconv.Atoi(parts[0]); err == nil {
		minor, err = strconv.Atoi(parts[1])
	}
	return major, minor, err
}

// tooNew refuses entries that etcd would stop at, because a newer one has written them. Their checksum is right, so they
// are not damaged.
func tooNew(e raftpb.Entry) error {
	if e.Type != raftpb.EntryNormal || len(e.Data) == 0 {
		return nil
	}
	var request etcdserverpb.InternalRaftRequest
	if err := request.Unmarshal(e.Data); err != nil {
		var old etcdserverpb.Request // as etcd wrote them for its version 2 interface
		if old.Unmarshal(e.Data) == nil {
			return nil
		}
		return newer(fmt.Sprintf("entry %d of the log cannot be read", e.Index))
	}
	if len(request.XXX_unrecognized) > 0 {
		return newer(fmt.Sprintf("entry %d of the log is of a newer kind", e.Index))
	}
	if set := request.ClusterVersionSet; set != nil {
		return checkVersion("the cluster's version", set.Ver)
	}
	return nil
}
