package status

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// quietBoard keeps no file.
func quietBoard(t *testing.T) *Board {
	t.Helper()
	b := NewBoard(filepath.Join(t.TempDir(), "s.json"), "v1", nil)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

// become makes the board show e, as those who find it out would.
func (b *Board) become(e Etcd) {
	b.Etcd(e.Cluster, func(was *Etcd) {
		led := was.Led
		*was = e.clone()
		was.Led = led
	})
}

// A script need not ask whether there is a list.
func TestEtcdListsAreAlwaysThere(t *testing.T) {
	b := quietBoard(t)
	encoded := func() string {
		data, err := json.Marshal(b.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if text := encoded(); !strings.Contains(text, `"etcd":[]`) {
		t.Errorf("no list of clusters: %s", text)
	}
	b.Etcd("main", func(*Etcd) {})
	for _, list := range []string{`"members":[]`, `"alarms":[]`, `"aside":[]`} {
		if text := encoded(); !strings.Contains(text, list) {
			t.Errorf("no %s: %s", list, text)
		}
	}
	var none *Board
	none.Etcd("main", func(*Etcd) { t.Error("there is nothing to edit") })
}

// What the leader's agent knows goes with the leadership; what lies in the store stays.
func TestEtcdForgetsWithTheLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, began := quietBoard(t), time.Now()
		b.become(fullEtcd())
		time.Sleep(time.Hour)
		b.Etcd("main", func(e *Etcd) { e.Why = "still" })
		if e := b.Snapshot().Etcd[0]; !e.Led.Equal(began) || e.Backup == nil || e.Members[0].DBSize == 0 {
			t.Errorf("it leads since %s, began %s: %+v", e.Led, began, e)
		}
		b.Etcd("main", func(e *Etcd) { e.Leads = false })
		e := b.Snapshot().Etcd[0]
		if !e.Led.IsZero() || e.Backup != nil || e.Delta != nil || len(e.Alarms) > 0 || e.Equal != "" || !e.Compared.IsZero() {
			t.Errorf("it knows still: %+v", e)
		}
		for _, m := range e.Members {
			if m.Health != "" || m.Version != "" || m.DBSize != 0 || m.InUse != 0 || m.Quota != 0 || m.Name == "" || m.Instance == "" {
				t.Errorf("member: %+v", m)
			}
		}
		if e.Drill == nil || e.Built == nil || e.Lineage == nil || len(e.Aside) != 1 {
			t.Errorf("too much is forgotten: %+v", e)
		}
		time.Sleep(time.Hour)
		b.Etcd("main", func(e *Etcd) { e.Leads = true })
		if e := b.Snapshot().Etcd[0]; !e.Led.Equal(time.Now()) {
			t.Errorf("it leads again since %s", e.Led)
		}
	})
}

func TestEtcdKeepsIntervals(t *testing.T) {
	b := quietBoard(t)
	b.Etcd("main", func(e *Etcd) {
		e.Leads, e.Backup, e.Delta = true, &EtcdBackup{Interval: 900}, &EtcdDelta{Interval: 2}
	})
	b.Etcd("main", func(e *Etcd) { e.Backup, e.Delta = &EtcdBackup{ID: "1/x"}, &EtcdDelta{Reaches: 7} })
	e := b.Snapshot().Etcd[0]
	if diff := cmp.Diff(EtcdBackup{Interval: 900, ID: "1/x"}, *e.Backup); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(EtcdDelta{Interval: 2, Reaches: 7}, *e.Delta); diff != "" {
		t.Error(diff)
	}
	b.Etcd("main", func(e *Etcd) { e.Backup.Interval = 60 })
	if got := b.Snapshot().Etcd[0].Backup.Interval; got != 60 {
		t.Errorf("another interval: %v", got)
	}
}

// Everybody may read the file: no credentials, no control characters, no pages of text from another machine.
func TestEtcdTextsAreTidy(t *testing.T) {
	const secret = "https://s3/x?X-Amz-Signature=c0ffee"
	dirty := secret + "\x1b[2J\n" + strings.Repeat("x", 5000)
	e := fullEtcd()
	e.Why, e.Hint, e.Equal, e.Alarms[0], e.Aside[0].Why, e.Built.Warnings[0] = dirty, dirty, dirty, dirty, dirty, dirty
	e.Lineage.Unknown, e.Backup.Failed, e.Delta.Failed, e.Drill.Failed, e.Members[1].Health = dirty, dirty, dirty, dirty, dirty
	b := quietBoard(t)
	b.become(e)
	data, err := json.Marshal(b.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if text := string(data); strings.Contains(text, "c0ffee") || strings.Contains(text, `\u001b`) || strings.Contains(text, `\n`) {
		t.Errorf("it holds what it must not:\n%s", text)
	}
	if strings.Contains(string(data), strings.Repeat("x", etcdShown+1)) {
		t.Error("a text is not bounded")
	}
	if e.Drill.Failed != dirty || e.Alarms[0] != dirty {
		t.Error("what was handed over was changed")
	}
}

// Who edits keeps what it put there, and may read it while others edit.
func TestEtcdConcurrently(t *testing.T) {
	b := quietBoard(t)
	drill := &EtcdDrill{Backup: "1/x", Failed: "a\tb"}
	warnings := []string{"a\tb"}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				b.Etcd("main", func(e *Etcd) { e.Leads, e.Drill, e.Built = true, drill, &EtcdBuilt{Warnings: warnings} })
				if drill.Failed != "a\tb" || warnings[0] != "a\tb" {
					t.Error("what was handed over was changed")
				}
				s := b.Snapshot()
				s.Etcd[0].Drill.Failed, s.Etcd[0].Built.Warnings[0] = "mine", "mine"
				b.Etcd("events", func(e *Etcd) { e.Leads = !e.Leads })
			}
		})
	}
	all.Wait()
	if s := b.Snapshot(); len(s.Etcd) != 2 || s.Etcd[0].Drill.Failed != "a b" {
		t.Errorf("at last: %+v", s.Etcd)
	}
}
