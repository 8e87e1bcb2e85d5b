package peers_test

import (
	"strings"
	"testing"
	"time"

	"rekindle/agent/etcd/peers"
)

// sound is a cluster of n voters, 1 the leader, whose databases have spare MiB each of size.
func sound(sizes ...[2]int64) (peers.View, []peers.Health) {
	var view peers.View
	var all []peers.Health
	for i, s := range sizes {
		id, name := uint64(i+1), string(rune('a'+i))
		view.Members = append(view.Members, peers.Member{ID: id, Name: name})
		all = append(all, peers.Health{
			Name: name, ID: id, Leader: 1, IsLeader: id == 1, RaftIndex: 50, Applied: 50 - id,
			DBSize: s[0] << 20, DBInUse: (s[0] - s[1]) << 20, Quota: 8 << 30,
		})
	}
	return view, all
}

func TestNextDefrag(t *testing.T) {
	type cluster = [][2]int64
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		cluster   cluster
		change    func(*peers.View, []peers.Health)
		last      map[string]time.Time
		policy    peers.DefragPolicy
		want      string
		successor uint64
		why       string
	}{
		"nothing to gain":         {cluster: cluster{{1000, 10}, {1000, 10}, {1000, 10}}, why: "gain enough"},
		"below 100 MiB":           {cluster: cluster{{150, 99}, {150, 99}, {150, 99}}, why: "gain enough"},
		"below 30 %":              {cluster: cluster{{1000, 299}, {1000, 299}, {1000, 299}}, why: "gain enough"},
		"just enough":             {cluster: cluster{{1000, 0}, {1000, 300}, {1000, 0}}, want: "b"},
		"the most, not the first": {cluster: cluster{{1000, 900}, {1000, 400}, {1000, 500}}, want: "c"},
		"followers first":         {cluster: cluster{{1000, 900}, {1000, 0}, {1000, 400}}, want: "c"},
		"leader last":             {cluster: cluster{{1000, 900}, {1000, 0}, {1000, 0}}, want: "a", successor: 2},
		"not again so soon": {cluster: cluster{{1000, 0}, {1000, 400}, {1000, 0}},
			last: map[string]time.Time{"b": now.Add(-23 * time.Hour)}, why: "not long ago"},
		"again after a day": {cluster: cluster{{1000, 0}, {1000, 400}, {1000, 0}},
			last: map[string]time.Time{"b": now.Add(-25 * time.Hour)}, want: "b"},
		"own limits": {cluster: cluster{{100, 0}, {100, 6}, {100, 0}}, policy: peers.DefragPolicy{Spare: 5 << 20, Share: 0.05}, want: "b"},
		"a voter is silent": {cluster: cluster{{1000, 0}, {1000, 400}, {1000, 0}},
			change: func(_ *peers.View, all []peers.Health) { all[2].ID = 99 }, why: "c (3) does not answer"},
		"a voter knows no leader": {cluster: cluster{{1000, 0}, {1000, 400}, {1000, 0}},
			change: func(_ *peers.View, all []peers.Health) { all[2].Leader = 0 }, why: "c knows no leader"},
		"a voter follows another": {cluster: cluster{{1000, 0}, {1000, 400}, {1000, 0}},
			change: func(_ *peers.View, all []peers.Health) { all[2].Leader = 2 }, why: "do not agree"},
		"a voter lags": {cluster: cluster{{1000, 0}, {1000, 400}, {1000, 0}},
			change: func(_ *peers.View, all []peers.Health) { all[2].RaftIndex = 5000 }, why: "entries to apply"},
		"a corrupt voter": {cluster: cluster{{1000, 0}, {1000, 400}, {1000, 0}},
			change: func(_ *peers.View, all []peers.Health) { all[0].Errors = []string{"memberID:3 alarm:CORRUPT "} }, why: "CORRUPT"},
		"a full database is no illness": {cluster: cluster{{1000, 0}, {1000, 400}, {1000, 0}},
			change: func(_ *peers.View, all []peers.Health) { all[0].Errors = []string{"memberID:3 alarm:NOSPACE "} }, want: "b"},
		"a learner": {cluster: cluster{{1000, 0}, {1000, 400}, {1000, 0}, {1000, 0}},
			change: func(v *peers.View, _ []peers.Health) { v.Members[3].Learner = true }, why: "still a learner"},
		"beside a learner if need be": {cluster: cluster{{1000, 0}, {1000, 400}, {1000, 0}, {1000, 900}},
			change: func(v *peers.View, _ []peers.Health) { v.Members[3].Learner = true }, policy: peers.DefragPolicy{Stall: true}, want: "b"},
		"alone":                    {cluster: cluster{{1000, 900}}, why: "stop all writes"},
		"alone, and getting full":  {cluster: cluster{{5000, 2000}}, want: "a"},
		"alone, and it has to be":  {cluster: cluster{{1000, 900}}, policy: peers.DefragPolicy{Stall: true}, want: "a"},
		"two":                      {cluster: cluster{{1000, 900}, {1000, 900}}, why: "stop all writes"},
		"two, and it has to be":    {cluster: cluster{{1000, 900}, {1000, 900}}, policy: peers.DefragPolicy{Stall: true}, want: "b"},
		"the leader is not listed": {cluster: cluster{{1000, 0}, {1000, 400}}, change: func(_ *peers.View, all []peers.Health) { all[0].IsLeader = false }, why: "none of the voters"},
		"nobody":                   {why: "none of the voters"},
	} {
		t.Run(name, func(t *testing.T) {
			view, all := sound(c.cluster...)
			if c.change != nil {
				c.change(&view, all)
			}
			got := peers.NextDefrag(view, all, c.last, now, c.policy)
			if got.Member.Name != c.want || got.Successor != c.successor || !strings.Contains(got.Why, c.why) || got.Why == "" {
				t.Errorf("got %q, successor %d: %s", got.Member.Name, got.Successor, got.Why)
			}
		})
	}
}

func TestFull(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *peers.Health)
		want   string
	}{
		"well below":           {func(h *peers.Health) { h.DBInUse, h.DBSize = 79, 90 }, ""},
		"four fifths":          {func(h *peers.Health) { h.DBInUse, h.DBSize = 80, 90 }, "c uses 80 of 100 bytes"},
		"not given back":       {func(h *peers.Health) { h.DBInUse, h.DBSize = 10, 100 }, "c is not defragmented"},
		"without quota":        {func(h *peers.Health) { h.DBInUse, h.DBSize, h.Quota = 1000, 1000, -1 }, ""},
		"a member that is not": {func(h *peers.Health) { h.ID = 99 }, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			view, all := sound([2]int64{}, [2]int64{}, [2]int64{})
			all[2].Quota = 100
			c.change(&all[2])
			got := strings.Join(peers.Full(view, all, 0.8), "; ")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPrefix(t *testing.T) {
	for key, want := range map[string]string{
		"/registry/pods/default/web-1": "/registry/pods/",
		"/registry/minions/i-1":        "/registry/minions/",
		"/registry/ranges":             "/registry/",
		"compact_rev_key":              "compact_rev_key",
		"/":                            "/",
		"a/b/c/d/e":                    "a/b/c/",
		"\xff\x00":                     "\xff\x00",
	} {
		if got := peers.Prefix(key); got != want {
			t.Errorf("%q: got %q, want %q", key, got, want)
		}
	}
}
