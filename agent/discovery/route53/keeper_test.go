package route53

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func wantAPI(t *testing.T, m *memory, addresses ...string) {
	t.Helper()
	var want []string
	for _, a := range addrs(addresses...) {
		want = append(want, a.String())
	}
	if got := m.api(); !slices.Equal(got, want) {
		t.Errorf("the API's record holds %v, want %v", got, want)
	}
}

func TestFirstInRankWritesOnceItsViewRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		k := run(t, m, nil)
		for n := range 4 { // every second something else
			update(t, k, view(apiName, string(rune('1'+n))))
			time.Sleep(time.Second)
		}
		if n := m.count(""); n != 0 {
			t.Errorf("%d requests before the view rested", n)
		}
		time.Sleep(5 * time.Second)
		wantAPI(t, m, "4")
		if n := m.count("ChangeResourceRecordSets"); n != 1 {
			t.Errorf("%d batches", n)
		}
		s := k.Status()
		if s.State != Ready || s.Zone != "Z1" || s.LastWrite.IsZero() || !s.NextTry.After(time.Now()) {
			t.Errorf("%+v", s)
		}
	})
}

func TestRestlessViewIsActedUpon(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 700 * time.Millisecond, 300 * time.Millisecond, 10 * time.Millisecond} {
		t.Run(every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				k := run(t, m, nil)
				for n, began := 0, time.Now(); time.Since(began) < 20*time.Second; n++ {
					update(t, k, view(apiName, "1", string(rune('2'+n%2))))
					time.Sleep(every)
				}
				if m.api() == nil {
					t.Error("nothing was written in 20 s")
				}
			})
		})
	}
}

// So is one of which EC2 has to be asked who is gone, and takes its time.
func TestRestlessViewWhileEC2IsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		slow := func(_ context.Context, all []netip.Addr) ([]netip.Addr, error) {
			time.Sleep(3 * time.Second)
			return all, nil
		}
		k := run(t, m, func(o *Options) { o.Gone = slow })
		update(t, k, view(apiName, "1", "2", "3"))
		time.Sleep(time.Minute)
		wantAPI(t, m, "1", "2", "3")
		for n, began := 0, time.Now(); time.Since(began) < 30*time.Second; n++ {
			update(t, k, view(apiName, "4", string(rune('5'+n%2))))
			time.Sleep(time.Second)
		}
		if got := m.api(); !slices.Contains(got, "10.0.0.4") {
			t.Errorf("the API's record holds %v after 30 s", got)
		}
	})
}

func TestQuietZoneIsReadEveryFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		k := run(t, m, nil)
		update(t, k, view(apiName, "1"))
		time.Sleep(10 * time.Minute)
		before := m.count("")
		time.Sleep(10 * time.Hour)
		if n := m.count("") - before; n < 90 || n > 121 {
			t.Errorf("%d requests in ten quiet hours", n)
		}
		if n := m.count("ChangeResourceRecordSets"); n != 1 {
			t.Errorf("%d batches", n)
		}
		m.mu.Lock()
		m.records = nil
		m.mu.Unlock()
		time.Sleep(driftEvery * 5 / 4)
		time.Sleep(10 * time.Second)
		wantAPI(t, m, "1")
	})
}

func TestLaterRanksWaitAndTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		k := run(t, m, nil)
		update(t, k, ranked(2, view(apiName, "1", "2", "3")))
		time.Sleep(2*rankStep - time.Second)
		if n := m.count(""); n != 0 {
			t.Errorf("%d requests before its turn", n)
		}
		time.Sleep(rankStep/3 + 5*time.Second)
		wantAPI(t, m, "1", "2", "3")
	})
}

func TestOnlyOneOfSeveralWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		for rank := range 5 {
			update(t, run(t, m, nil), ranked(rank, view(apiName, "1", "2", "3", "4", "5")))
		}
		time.Sleep(10 * time.Minute)
		wantAPI(t, m, "1", "2", "3", "4", "5")
		if n := m.count("ChangeResourceRecordSets"); n != 1 {
			t.Errorf("%d batches", n)
		}
	})
}

// Both see everybody alive, and one believes that an API server is unwell.
func TestTwoViewsDoNotFlapForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		first, second := run(t, m, nil), run(t, m, nil)
		all := addrs("1", "2", "3")
		update(t, first, View{Names: map[string][]netip.Addr{apiName: all}, Living: all})
		update(t, second, View{Names: map[string][]netip.Addr{apiName: all[:2]}, Living: all, Rank: 1})
		time.Sleep(24 * time.Hour)
		day := m.count("ChangeResourceRecordSets")
		right := 0
		for range 24 * 60 {
			time.Sleep(time.Minute)
			if len(m.api()) == 3 {
				right++
			}
		}
		more := m.count("ChangeResourceRecordSets") - day
		t.Logf("%d batches on the first day, %d on the second; the first in rank prevailed in %d of 1440 minutes", day, more, right)
		if day > 40 || more > 4 {
			t.Errorf("%d batches on the first day, %d on the second", day, more)
		}
		if right < 1400 {
			t.Errorf("the first in rank prevailed in %d of 1440 minutes", right)
		}
	})
}

// One of five is cut off together with a second; both sides reach Route 53, for an hour.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		whole, majority, minority := view(apiName, "1", "2", "3", "4", "5"), view(apiName, "3", "4", "5"), view(apiName, "1", "2")
		var keepers []*Keeper
		for rank := range 5 {
			keepers = append(keepers, run(t, m, nil))
			update(t, keepers[rank], ranked(rank, whole))
		}
		time.Sleep(2 * time.Minute)
		before := m.count("ChangeResourceRecordSets")
		for n, k := range keepers {
			if n < 2 {
				update(t, k, ranked(n, minority))
			} else {
				update(t, k, ranked(n-2, majority))
			}
		}
		time.Sleep(30 * time.Second)
		for range 50 {
			time.Sleep(time.Minute)
			wantAPI(t, m, "3", "4", "5")
		}
		if n := m.count("ChangeResourceRecordSets") - before; n != 1 {
			t.Errorf("%d batches during the partition", n)
		}
		for rank, k := range keepers {
			update(t, k, ranked(rank, whole))
		}
		time.Sleep(2 * time.Minute)
		wantAPI(t, m, "1", "2", "3", "4", "5")
		for n, k := range keepers {
			k.busy <- struct{}{}
			if len(k.refused) > 0 {
				t.Errorf("keeper %d would not add %v again", n, k.refused)
			}
			<-k.busy
		}
	})
}

// Somebody takes the marker away, and so the record, after it was read and before it is written.
func TestRecordThatIsTakenOverInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(owned(apiName, "A", cluster, "10.0.0.1")...)
		m.fault = func(action string) error {
			if action == "ChangeResourceRecordSets" {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.records = m.records[:1]
			}
			return nil
		}
		k := run(t, m, nil)
		update(t, k, view(apiName, "1", "2"))
		time.Sleep(time.Hour)
		wantAPI(t, m, "1")
		if s := k.Status(); m.count("ChangeResourceRecordSets") != 1 || len(s.Foreign) != 1 || s.State != Ready {
			t.Errorf("%d batches, %+v", m.count("ChangeResourceRecordSets"), s)
		}
	})
}

func TestZoneUnderAnotherID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		k := run(t, m, func(o *Options) { o.ZoneID = "" })
		update(t, k, view(apiName, "1"))
		time.Sleep(time.Minute)
		m.mu.Lock()
		m.zones, m.records = []Zone{{"Z2", "k.example.com.", true}}, nil
		m.mu.Unlock()
		time.Sleep(2 * driftEvery)
		wantAPI(t, m, "1")
		if s := k.Status(); s.Zone != "Z2" || s.State != Ready {
			t.Errorf("%+v", s)
		}
	})
}

// All masters were replaced at once: nobody is left of those listed, and only EC2 knows.
func TestReplacedMasters(t *testing.T) {
	for name, tt := range map[string]struct {
		gone func() ([]netip.Addr, error)
		want []string
	}{
		"EC2 knows":         {func() ([]netip.Addr, error) { return addrs("1", "2", "3"), nil }, []string{"4"}},
		"EC2 does not know": {func() ([]netip.Addr, error) { return addrs("2"), nil }, []string{"1", "3", "4"}},
		"EC2 errs":          {func() ([]netip.Addr, error) { return nil, errors.New("throttled") }, []string{"1", "2", "3", "4"}},
		"EC2 says too much": {func() ([]netip.Addr, error) { return addrs("1", "2", "3", "4"), nil }, []string{"4"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(owned(apiName, "A", cluster, "10.0.0.1", "10.0.0.2", "10.0.0.3")...)
				k := run(t, m, func(o *Options) {
					o.Gone = func(_ context.Context, asked []netip.Addr) ([]netip.Addr, error) {
						if slices.Contains(asked, addrs("4")[0]) {
							t.Error("asked about one that is seen")
						}
						return tt.gone()
					}
				})
				update(t, k, view(apiName, "4"))
				time.Sleep(time.Minute)
				wantAPI(t, m, tt.want...)
				if s := k.Status(); len(s.Held) != len(tt.want)-1 {
					t.Errorf("held %v", s.Held)
				}
			})
		})
	}
}

func TestNoNamesAtAllChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := owned(apiName, "A", cluster, "10.0.0.1")
		m := newMemory(records...)
		k := run(t, m, nil)
		update(t, k, View{})
		time.Sleep(time.Hour)
		if n := m.count("ChangeResourceRecordSets"); n != 0 {
			t.Errorf("%d batches", n)
		}
	})
}

func TestNamesOutsideAreRefused(t *testing.T) {
	k, err := New(Options{Cluster: cluster, API: newMemory()})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Update(view("www.example.com", "1")); err == nil || !strings.Contains(err.Error(), "www.example.com is not a name under internal.k.example.com.") {
		t.Error(err)
	}
	if _, err := New(Options{API: newMemory()}); err == nil {
		t.Error("a keeper without a cluster")
	}
}
