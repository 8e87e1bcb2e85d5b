package model

import (
	"bufio"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"rekindle/agent/etcd"
	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/datadir"
)

// standsFor has, for each row of etcd.Decide, the steps of the model that it stands for. A row that takes no step, because it
// waits, stops, or lets run what runs, has none.
var standsFor = map[string][]string{
	"start unknown":           {"row: start unknown"},
	"unknown":                 nil,
	"run without record":      nil,
	"adopt data":              nil,
	"unknown trace":           nil,
	"adopt":                   nil,
	"create":                  {"row: create"},
	"unmarked":                nil, // the model's data is always marked
	"halt foreign":            nil, // the model has one store
	"foreign":                 nil,
	"run beside older record": nil, // the model's store does not go back
	"older record":            nil,
	"halt superseded":         {"stop"},
	"halt leaderless":         {"row: position"},
	"running":                 nil,
	"resume rescue":           {"row: resume", "row: lost disk", "note it first"}, // nothing to build from: said to be lost
	"moved rescuer":           {"row: moved volume", "taken back"},
	"set aside torn":          nil, // the model's torn data is a disk that died
	"rescue after rescuer":    {"row: rescue after rescuer"},
	"wait rescue":             nil,
	"set aside older":         {"row: set aside older"},
	"set aside removed":       {"row: set aside removed"},
	"moved volume":            {"row: moved volume"},
	"wait old instance":       nil,
	"found again":             {"taken back"},
	"taken back":              {"taken back"},
	"resume":                  {"row: resume", "mark"},
	"start":                   {"row: start", "mark"},
	"wait voters":             nil,
	"position":                {"row: position"},
	"rescue":                  {"row: rescue"},
	"wait survivors":          nil,
	"begin":                   {"row: resume"},
	"resume restore":          {"row: resume"},
	"wait holder":             nil,
	"lost former":             {"row: lost former"},
	"wait former":             nil,
	"create again":            {"row: take over", "row: resume"}, // the holder itself, on a new disk: in the next generation, where the model goes on
	"resume join":             {"row: join", "take over a change"},
	"lost disk":               {"row: lost disk", "note it first"},
	"join":                    nil, // what joining is: see joining
	"wait quorum":             nil,
	"unknown backups":         nil,
	"no backup":               nil,
	"take over":               {"row: take over", "row: resume"},
	"restore":                 {"row: restore"},
}

// untaken are the rows for what the model has not: other stores, unmarked or torn data, listings that fail, and a rescuer's volume that
// moves while its old instance may live.
var untaken = map[string]bool{
	"unmarked": true, "halt foreign": true, "foreign": true, "run beside older record": true, "older record": true, "set aside torn": true,
	"unknown trace": true, "unknown backups": true, "wait old instance": true,
}

func TestRows(t *testing.T) {
	for _, name := range etcd.Rows() {
		if _, ok := standsFor[name]; !ok {
			t.Errorf("row %q of etcd.Decide: say here which steps of the model it stands for", name)
		}
	}
	if len(standsFor) != len(etcd.Rows()) {
		t.Errorf("%d rows here, etcd.Decide has %d", len(standsFor), len(etcd.Rows()))
	}
}

// decides takes states that a search has reached, and has etcd.Decide decide in each for every master, by all that it may
// observe there. What it does must be a step that the model has in that state; and where the model has a step for a master that
// observes what is true, Decide must not wait. It returns how often each row was taken.
func decides(t *testing.T, run run, output string) map[string]int {
	t.Helper()
	live, generations := strings.Contains(run.defines, "-DLIVE"), 4
	if _, value, found := strings.Cut(run.defines, "-DGENS="); found {
		generations = int(value[0] - '0')
	}
	taken := map[string]int{}
	states := parse(t, output, live)
	for _, s := range states {
		if s.misled || s.rg == generations { // where the model ends
			continue
		}
		for id := range volumes {
			if s.up&(1<<id) != 0 && !s.compare(t, id, taken) {
				return taken
			}
		}
	}
	t.Logf("etcd.Decide compared in %d states", len(states))
	if len(states) < 5_000 {
		t.Errorf("etcd.Decide compared in %d states only: make SAMPLE smaller", len(states))
	}
	return taken
}

// compare has Decide decide for one master of a state, and says whether that is right.
func (s *state) compare(t *testing.T, id int, taken map[string]int) bool {
	t.Helper()
	observed := s.observations(id)
	if s.live {
		observed = observed[:min(len(observed), 1)] // the first is the truth
	}
	for _, facts := range observed {
		action := etcd.Decide(facts)
		taken[action.Row]++
		if !s.allows(id, facts, action) {
			t.Errorf("row %q, where the model has %q: master %d\nstate %+v\nfound %+v %+v reported %v\nrecord %+v change %+v unknown %v\nquorum %+v instances %+v",
				action.Row, s.steps[id], id, *s, facts.Found.State, facts.Found.Marker, facts.Reported, facts.Record, change(facts.Record), facts.RecordUnknown,
				facts.Quorum, facts.Instances)
			return false
		}
	}
	return true
}

func (s *state) allows(id int, facts etcd.Facts, action etcd.Action) bool {
	switch action.Verdict {
	case etcd.Look:
		return false
	case etcd.Wait, etcd.Stop:
		due := func(step string) bool { return step != "mark" && step != "note it first" } // what only prepares is not
		return !s.live || !slices.ContainsFunc(s.steps[id], due)
	case etcd.Halt, etcd.Join:
		return true // to stop etcd harms nobody; the steps of a join are the changer's
	case etcd.Start:
		me := 1 << id
		switch {
		case facts.Found.State == datadir.Busy:
			return true
		case s.junk&me != 0 || s.rg > 0 && (s.vot[s.rg]|s.lrn)&me == 0:
			return true // etcd has removed it, as Decide cannot see: it ends by itself
		case !s.live && s.free()&me != 0:
			return true // where etcd's running is not a part of the state, starting it is no step
		}
	}
	return slices.ContainsFunc(standsFor[action.Row], func(step string) bool { return slices.Contains(s.steps[id], step) })
}

func change(record *etcd.Lineage) *etcd.Change {
	if record == nil {
		return nil
	}
	return record.Change
}

const volumes = 4

// state is one of the model's, as SAMPLE prints it: see state.pml for the names.
type state struct {
	up, halt, dead, inc                             int
	dat                                             [5]int
	junk, hid, mk, note                             int
	rs, rg, mem, lrnr, lost, rinc, rpos, hold, hinc int
	ck, ct, cb, cbinc, fmr, finc, fg                int
	vot                                             [5]int
	lrn, padd, pprm, prem, bk, known, ran           int
	wr, rwr, fwr, bwr                               int
	etcd                                            int
	misled, live                                    bool
	steps                                           [volumes][]string
}

// parse reads what the search printed.
func parse(t *testing.T, output string, live bool) map[string]*state {
	t.Helper()
	states := map[string]*state{}
	lines := bufio.NewScanner(strings.NewReader(output))
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		key, rest, _ := strings.Cut(rest, " ")
		switch word {
		case "state":
			s, misled := states[key], 0
			if s == nil {
				s = &state{live: live}
				states[key] = s
			}
			if _, err := fmt.Sscan(rest, &s.up, &s.halt, &s.dead, &s.inc, &s.dat[1], &s.dat[2], &s.dat[3], &s.dat[4], &s.junk, &s.hid,
				&s.mk, &s.note, &s.rs, &s.rg, &s.mem, &s.lrnr, &s.lost, &s.rinc, &s.rpos, &s.hold, &s.hinc, &s.ck, &s.ct, &s.cb, &s.cbinc,
				&s.fmr, &s.finc, &s.fg, &s.vot[1], &s.vot[2], &s.vot[3], &s.vot[4], &s.lrn, &s.padd, &s.pprm, &s.prem, &s.bk, &s.known,
				&s.ran, &s.wr, &s.rwr, &s.fwr, &s.bwr, &s.etcd, &misled); err != nil {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
			s.misled = misled != 0
		case "step":
			if states[key] == nil {
				states[key] = &state{live: live}
			}
			var id int
			number, step, _ := strings.Cut(rest, " ")
			if _, err := fmt.Sscan(number, &id); err != nil || id >= volumes {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
			states[key].steps[id] = append(states[key].steps[id], step)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return states
}

// instance is the one that a volume is on, by what a set says of the volumes that are on their second one.
func instance(volume, second int) string {
	if second&(1<<volume) != 0 {
		return fmt.Sprintf("i-%d-second", volume)
	}
	return fmt.Sprintf("i-%d", volume)
}

func member(volume int) string { return fmt.Sprintf("m%d", volume) }

// each calls a function with the number of every volume of a set.
func each(set int, visit func(volume int)) {
	for volume := range volumes {
		if set&(1<<volume) != 0 {
			visit(volume)
		}
	}
}

var errUnknown = errors.New("unknown")

// observations are all facts that a master may see in a state, the true ones first.
func (s *state) observations(id int) []etcd.Facts {
	me := 1 << id
	truth := etcd.Facts{
		Self: instance(id, s.inc), Reported: s.note&me != 0, Record: s.record(), Instances: s.instances(),
		Trace: &etcd.Trace{Found: s.known|s.bk != 0}, Quorum: &etcd.Quorum{Reachable: s.reachable()}, Backups: new(etcd.Backups),
	}
	if s.bk != 0 {
		truth.Backups.Entries = []backup.Entry{{ID: "1/x-1"}}
	}
	var all []etcd.Facts
	for _, found := range s.found(id) {
		for _, unknown := range []bool{false, true} {
			for _, heard := range []bool{true, false} {
				for _, told := range []bool{true, false} {
					f := truth
					f.Found = found
					f.Leaderless = found.State == datadir.Busy && !truth.Quorum.Reachable
					if unknown {
						f.Record, f.RecordUnknown = nil, errUnknown
					}
					if !heard {
						f.Quorum = new(etcd.Quorum)
					}
					if !told {
						f.Instances = &etcd.Instances{Unknown: errUnknown}
					}
					all = append(all, f)
				}
			}
		}
	}
	return all
}

// found is what may lie on a node: with data, etcd may run on it or not; where a first member is to be made, the directory
// may be marked for it already, or be a new disk.
func (s *state) found(id int) []datadir.Found {
	me := 1 << id
	marker := datadir.Marker{UID: "u", Generation: s.rg, Member: member(id), Instance: instance(id, s.mk)}
	if s.seen()&me == 0 {
		none := datadir.Found{State: datadir.Empty}
		if (s.rs != creating && s.rs != restoring) || s.hold != me {
			return []datadir.Found{none}
		}
		marker.Fresh, marker.Instance = true, instance(id, s.inc)
		return []datadir.Found{{State: datadir.Empty, Marker: &marker}, none}
	}
	for generation := 1; generation <= 4; generation++ {
		if s.dat[generation]&me != 0 {
			marker.Generation = generation
		}
	}
	sound := datadir.Found{State: datadir.Sound, Marker: &marker, Position: datadir.Position{Term: 1, Index: uint64(1 + s.wr>>id&1)}}
	busy := sound
	busy.State = datadir.Busy
	switch {
	case s.junk&me != 0 && s.mem&me != 0:
		return nil // a member that came back under its name: the real one has another
	case s.etcd&me != 0:
		return []datadir.Found{busy}
	case (s.mk^s.inc)&me != 0 || (s.junk|s.note)&me != 0:
		return []datadir.Found{sound}
	}
	return []datadir.Found{sound, busy}
}

const (
	creating  = 1
	restoring = 2
	rescuing  = 3
)

func (s *state) record() *etcd.Lineage {
	if s.rs == 0 {
		return nil
	}
	r := &etcd.Lineage{
		UID: "u", Generation: s.rg, Token: "t", State: []string{"", etcd.Creating, etcd.Restoring, etcd.Rescuing, etcd.Running}[s.rs],
		Holder: etcd.Holder{Instance: "i-none"},
	}
	if s.hold != 0 {
		r.Holder.Instance = instance(bits.TrailingZeros(uint(s.hold)), s.hold*s.hinc)
	}
	list := func(volume, second, positions, writes int) etcd.Member {
		m := etcd.Member{Name: member(volume), Instance: instance(volume, second), PeerURL: member(volume), Learner: s.lrnr&(1<<volume) != 0}
		if s.lost&(1<<volume) != 0 {
			m.Lost = "disk"
		}
		if positions&(1<<volume) != 0 {
			m.Position = &datadir.Position{Term: 1, Index: uint64(1 + writes>>volume&1)}
		}
		return m
	}
	each(s.mem, func(volume int) { r.Members = append(r.Members, list(volume, s.rinc, s.rpos, s.rwr)) })
	if s.rs == rescuing {
		each(s.fmr, func(volume int) { r.Former = append(r.Former, list(volume, s.finc, s.fmr, s.fwr)) })
		r.FormerGeneration = s.fg
	}
	if s.ck != 0 {
		c := &etcd.Change{Kind: []string{"", etcd.Add, etcd.Remove, etcd.Promote}[s.ck], Instance: instance(bits.TrailingZeros(uint(s.cb)), s.cb*s.cbinc)}
		each(s.ct, func(volume int) {
			if c.Member == "" {
				c.Member = member(volume)
			} else {
				c.Also = append(c.Also, member(volume))
			}
		})
		r.Change = c
	}
	return r
}

// instances is the truth on them.
func (s *state) instances() *etcd.Instances {
	word := &etcd.Instances{Gone: map[string]bool{}, Stopped: map[string]bool{}}
	for volume := range volumes {
		bit := 1 << volume
		word.Gone[instance(volume, 0)] = (s.inc|s.dead)&bit != 0
		word.Gone[instance(volume, bit)] = s.inc&s.dead&bit != 0
		word.Stopped[instance(volume, s.inc)] = s.halt&bit != 0
	}
	return word
}

// seen are the volumes with data that their nodes see, free those on which etcd may run without a swap: see state.pml.
func (s *state) seen() int { return (s.dat[1] | s.dat[2] | s.dat[3] | s.dat[4] | s.junk) &^ s.hid }
func (s *state) free() int { return s.up & s.seen() &^ s.junk &^ (s.mk ^ s.inc) &^ s.note }

// reachable tells whether a majority of the true voters may run.
func (s *state) reachable() bool {
	if s.rg == 0 || s.vot[s.rg] == 0 {
		return false
	}
	runs := s.etcd
	if !s.live { // then it is not a part of the state: etcd runs wherever it may
		runs = s.free()
	}
	voters := s.vot[s.rg]
	return 2*bits.OnesCount(uint(runs&s.dat[s.rg]&voters)) > bits.OnesCount(uint(voters))
}
