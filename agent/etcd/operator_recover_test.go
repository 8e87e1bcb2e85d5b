package etcd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
)

func TestMarkLost(t *testing.T) {
	three := with(cluster(2, "a", "b", "c"), func(r *Lineage) { r.Members[1].Position = at(3, 4); r.Members[2].Lost = "disk" })
	for name, c := range map[string]struct {
		record *Lineage
		lost   []string
		all    bool
		marked []string
		fails  string
	}{
		"by name":       {three, []string{"b"}, false, []string{"b"}, ""},
		"by instance":   {three, []string{"i-a"}, false, []string{"a"}, ""},
		"several":       {three, []string{"a", "i-b"}, false, []string{"a", "b"}, ""},
		"all":           {three, nil, true, []string{"a", "b"}, ""},
		"already":       {three, []string{"c"}, false, nil, "marked as lost already"},
		"nobody":        {three, []string{"x", "a"}, false, nil, "no member x: it has a, b, c"},
		"of a rescue":   {rescuing("b", survivors("a", "b")), []string{"a"}, false, []string{"a"}, ""},
		"everyone then": {rescuing("b", survivors("a", "b")), nil, true, []string{"b", "a", "c", "d", "e"}, ""},
	} {
		before := c.record.clone()
		next, marked, err := MarkLost(c.record, c.lost, c.all)
		if diff := cmp.Diff(before, c.record.clone()); diff != "" {
			t.Errorf("%s: the record that was given changed: %s", name, diff)
		}
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: error %v, want %q", name, err, c.fails)
			}
			continue
		}
		if err != nil || !slices.Equal(marked, c.marked) {
			t.Errorf("%s: marked %q, error %v; want %q", name, marked, err, c.marked)
			continue
		}
		for _, m := range next.Everyone() {
			was := find(before.Everyone(), func(w Member) bool { return w.Name == m.Name })
			if slices.Contains(marked, m.Name) != (m.Lost == ByOperator) || !slices.Contains(marked, m.Name) && m.Lost != was.Lost {
				t.Errorf("%s: %s is lost %q", name, m.Name, m.Lost)
			}
		}
		if next.Holder.Instance != before.Holder.Instance {
			t.Errorf("%s: the holder became %q: others would wait for an instance that does not exist", name, next.Holder.Instance)
		}
	}
}

func backups(ids ...string) (all []backup.Entry) {
	for _, id := range ids {
		all = append(all, backup.Entry{ID: id, Generation: 1, Revision: 5, Complete: true})
	}
	return all
}

func TestForesee(t *testing.T) {
	lost := func(names ...string) func(*Lineage) {
		return func(r *Lineage) {
			for _, n := range names {
				r.named(n).Lost = ByOperator
			}
		}
	}
	one := backups("1/x-5")
	for name, c := range map[string]struct {
		record  *Lineage
		gone    *Instances
		answers bool
		backups []backup.Entry
		want    Prospect
	}{
		"one of three":                   {with(cluster(1, "a", "b", "c"), lost("c")), gone(), false, one, GoesOn},
		"one of three, and they answer":  {with(cluster(1, "a", "b", "c"), lost("c")), gone(), true, one, GoesOn},
		"two of three":                   {with(cluster(1, "a", "b", "c"), lost("b", "c")), gone(), false, one, Rescued},
		"one of three, another is gone":  {with(cluster(1, "a", "b", "c"), lost("b")), gone("i-c"), false, one, Rescued},
		"two of three, with positions":   {with(survivors("a", "b"), lost("c", "d", "e")), gone(), false, one, Rescued},
		"one of two":                     {with(cluster(1, "a", "b"), lost("b")), gone(), false, one, Rescued},
		"all":                            {with(cluster(1, "a", "b", "c"), lost("a", "b", "c")), gone(), false, one, Restored},
		"all, who answered a moment ago": {with(cluster(1, "a", "b", "c"), lost("a", "b", "c")), gone(), true, one, Restored},
		"all, and no backup":             {with(cluster(1, "a"), lost("a")), gone(), false, nil, Stuck},
		"all voters, and a learner is":   {with(cluster(1, "a", "b"), func(r *Lineage) { lost("a")(r); learner("b")(r) }), gone(), false, one, Rescued},
		"who created it":                 {with(cluster(1, "a"), func(r *Lineage) { lost("a")(r); r.State = Creating }), gone(), false, nil, Begun},
		"who restored it":                {with(cluster(2, "a"), func(r *Lineage) { lost("a")(r); r.State = Restoring }), gone(), false, one, Restored},
		"who rescued it":                 {with(rescuing("b", survivors("a", "b")), lost("b")), gone("i-c", "i-d", "i-e"), false, one, Rescued},
		"a rescuer, and its other survivor": {with(rescuing("b", survivors("a", "b")), func(r *Lineage) {
			for _, list := range [][]Member{r.Members, r.Former} {
				for i := range list {
					list[i].Lost = ByOperator
				}
			}
		}), gone(), false, one, Restored},
		"nobody, of an empty record": {cluster(1), gone(), false, one, Restored},
	} {
		outlook := Foresee(c.record, c.gone.Gone, c.answers, c.backups)
		if outlook.Prospect != c.want {
			t.Errorf("%s: %s, want %s: %+v", name, outlook.Prospect, c.want, outlook.Steps)
		}
		text := strings.Join(outlook.Cost(time.Now(), &Reach{Backup: "1/x-5", Revision: 7, Until: time.Now()}), "\n")
		if text == "" || (c.want == Restored) != strings.Contains(text, "up to revision 7") {
			t.Errorf("%s: it costs %q", name, text)
		}
	}
}

// What is foretold is what masters do: the same steps are taken one after the other by the decision table, with the marks of
// each in the record, until a generation begins, and it begins as was said.
func TestForeseenHappens(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	seen := map[Prospect]int{}
	for range 20_000 {
		record := drawRecord(r)
		for _, list := range [][]Member{record.Members, record.Former} {
			for i := range list { // as the masters write them: each on an instance of its own
				list[i].Instance, list[i].Position = "i-"+list[i].Name, nil
			}
		}
		record.Holder.Instance = record.Members[0].Instance
		record.Change = nil
		if record.State == Running && len(record.voters()) == 0 {
			continue
		}
		next, _, err := MarkLost(record, []string{record.Members[0].Name}, r.IntN(3) == 0)
		if err != nil {
			continue
		}
		outlook := Foresee(next, map[string]bool{}, false, backups("1/x-5"))
		seen[outlook.Prospect]++
		if came := play(next); came != outlook.Prospect {
			t.Fatalf("foretold %s, and it came to %s\nrecord %+v former %+v\nsteps %+v", outlook.Prospect, came, next, next.Former, outlook.Steps)
		}
	}
	for _, p := range []Prospect{GoesOn, Rescued, Restored, Begun} {
		if seen[p] == 0 {
			t.Errorf("%s was never drawn", p)
		}
	}
}

// play lets the masters that are left decide, and writes their positions down, until one of them begins something.
func play(record *Lineage) Prospect {
	record = record.clone()
	for range 20 {
		moved := false
		for _, m := range record.Everyone() {
			if m.Lost != "" {
				continue
			}
			generation := record.Generation
			if record.named(m.Name) == nil {
				generation = record.FormerGeneration
			}
			action := Decide(Facts{Self: m.Instance, Found: data(datadir.Sound, m.Name, generation), Record: record, Quorum: silent, Instances: gone(), Backups: some})
			switch action.Verdict {
			case Start:
				return GoesOn
			case Rescue:
				return Rescued
			case Position:
				record.named(m.Name).Position, moved = at(1, 1), true
			}
		}
		if moved {
			continue
		}
		switch Decide(Facts{Self: "i-new", Found: empty, Record: record, Quorum: silent, Instances: gone(), Backups: some}).Verdict {
		case Restore:
			return Restored
		case TakeOver:
			return Begun
		}
		// A rescue goes on once everybody who is left has come back and said how far its log goes.
		said := false
		for i := range record.Former {
			if m := &record.Former[i]; m.Lost == "" && m.Position == nil {
				m.Position, said = at(1, 1), true
			}
		}
		if !said {
			return Stuck
		}
	}
	return Stuck
}

func TestObjections(t *testing.T) {
	record := cluster(1, "a", "b", "c")
	mark := func(names ...string) (*Lineage, []string) {
		next, marked, err := MarkLost(record, names, false)
		if err != nil {
			t.Fatal(err)
		}
		return next, marked
	}
	two, marked := mark("b", "c")
	fine := Outlook{Prospect: Rescued}
	for name, c := range map[string]struct {
		states  map[string]string
		answers bool
		outlook Outlook
		want    []string
	}{
		"gone, and stopped": {map[string]string{"i-b": "terminated", "i-c": "stopped", "i-a": "running"}, false, fine, nil},
		"nobody knows":      {nil, false, fine, nil},
		"not found":         {map[string]string{"i-b": NotFound, "i-c": NotFound}, false, fine, nil},
		"running":           {map[string]string{"i-b": "running", "i-c": "stopping"}, false, fine, []string{"i-b is running, i-c is stopping"}},
		"a quorum":          {nil, true, fine, []string{"a quorum of etcd answers"}},
		"stuck": {nil, false, Outlook{Prospect: Stuck, Steps: []Step{{Action: Action{Verdict: Stop, Why: "there is no backup", Hint: "bring one"}}}},
			[]string{"there is no backup"}},
	} {
		got := Objections(two, marked, c.states, c.answers, c.outlook)
		if len(got) != len(c.want) {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i].Why, want) || got[i].Remedy == "" {
				t.Errorf("%s: %+v, want %q", name, got[i], want)
			}
		}
	}
}

func ExampleAge() {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, d := range []time.Duration{0, -30 * time.Second, time.Hour, 119 * time.Second, 3 * time.Hour, 49 * time.Hour, -time.Hour} {
		fmt.Println(Age(now, now.Add(-d)))
	}
	// Output:
	// 0 seconds ago
	// 0 seconds ago
	// 60 minutes ago
	// 119 seconds ago
	// 3 hours ago
	// 2 days ago
	// 1h0m0s in the future, by this clock
}
