package peers_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rekindle/agent/etcd/etcdtest"
	"rekindle/agent/etcd/peers"
)

func TestCompare(t *testing.T) {
	hash := func(name string, compact int64, hash uint32) peers.MemberHash {
		return peers.MemberHash{Name: name, Revision: 9, CompactRevision: compact, Hash: hash}
	}
	lost := peers.MemberHash{Name: "c", Err: errors.New("no answer")}
	for name, c := range map[string]struct {
		members  []peers.MemberHash
		outcome  peers.Hashed
		minority []string
	}{
		"equal":                             {[]peers.MemberHash{hash("a", 3, 7), hash("b", 3, 7), hash("c", 3, 7)}, peers.Equal, nil},
		"one differs":                       {[]peers.MemberHash{hash("a", 3, 7), hash("b", 3, 8), hash("c", 3, 7)}, peers.Differs, []string{"b"}},
		"all differ":                        {[]peers.MemberHash{hash("a", 3, 7), hash("b", 3, 8), hash("c", 3, 9)}, peers.Differs, nil},
		"two of two":                        {[]peers.MemberHash{hash("a", 3, 7), hash("b", 3, 8)}, peers.Differs, nil},
		"two of three":                      {[]peers.MemberHash{hash("a", 3, 7), hash("b", 3, 8), lost}, peers.Differs, nil},
		"two of five":                       {[]peers.MemberHash{hash("a", 3, 7), hash("b", 3, 7), hash("d", 3, 8), lost, lost}, peers.Differs, nil},
		"three of five":                     {[]peers.MemberHash{hash("a", 3, 7), hash("b", 3, 7), hash("d", 3, 7), hash("e", 3, 8), lost}, peers.Differs, []string{"e"}},
		"compaction between":                {[]peers.MemberHash{hash("a", 3, 7), hash("b", 4, 8), hash("c", 3, 7)}, peers.NotComparable, nil},
		"compaction between, and different": {[]peers.MemberHash{hash("a", 3, 7), hash("b", 4, 7), hash("c", 3, 8)}, peers.Differs, nil},
		"one missing":                       {[]peers.MemberHash{hash("a", 3, 7), hash("b", 3, 7), lost}, peers.NotComparable, nil},
		"alone":                             {[]peers.MemberHash{hash("a", 3, 7)}, peers.NotComparable, nil},
		"nobody":                            {nil, peers.NotComparable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := peers.Compare(9, c.members)
			if got.Outcome != c.outcome || !cmp.Equal(got.Minority, c.minority, cmpopts.EquateEmpty()) {
				t.Errorf("got %s, minority %v (%s)", got.Outcome, got.Minority, got.Why)
			}
			if got.Why == "" && got.Outcome != peers.Equal {
				t.Error("no reason given")
			}
		})
	}
}

func testHashesEqual(t *testing.T, c *etcdtest.Cluster) {
	got, err := dialTo(t, c, nil).CompareHashes(t.Context())
	if err != nil || got.Outcome != peers.Equal || len(got.Members) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}
