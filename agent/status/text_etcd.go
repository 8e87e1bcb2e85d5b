package status

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// What is written of etcd fits on a terminal of a hundred columns: names take twelve of them.
const etcdColumns = 100 - 12

// etcd is the section of one cluster: one value a line, then a table of the members.
func (p *page) etcd(e *Etcd) {
	fmt.Fprintf(p, "\n%s\n", p.paint("1", "ETCD "+oneLine(e.Cluster)))
	p.table(func(w io.Writer) {
		line := wrapped(w)
		p.etcdMember(e, line)
		if e.Leads {
			p.etcdStored(e, line)
		} else if e.Data == etcdBusy {
			line("backup", "the node whose member leads takes them")
		}
		if b := e.Built; b != nil {
			line("built", b.words(p))
			for _, warning := range b.Warnings {
				line("", warning)
			}
		}
		for i, a := range e.Aside {
			name := "aside"
			if i > 0 {
				name = ""
			}
			line(name, fmt.Sprintf("%s (%s, %s ago)", a.Path, Bytes(a.Bytes), p.long(a.Since)))
			line("", a.Why)
		}
	})
	p.etcdMembers(e)
}

// etcdMember is what this node's member is at, and why.
func (p *page) etcdMember(e *Etcd, line func(name, text string)) {
	l := e.Lineage
	switch {
	case l == nil:
		line("lineage", "there is none in the store")
	case l.UID == "":
		line("lineage", "UNKNOWN: "+l.Unknown)
	default:
		line("lineage", fmt.Sprintf("%s, generation %d, %s, written last by %s", l.UID, l.Generation, l.State, l.Holder))
		if l.Unknown != "" {
			line("", "NOT READ ANY MORE: "+l.Unknown)
		}
		line("change", l.Change)
	}
	member := cmp.Or(e.Member, "none yet")
	if own := e.own(); own != nil {
		member += ", " + own.role()
	}
	if e.Leads {
		member += ", leads for " + p.long(e.Led)
	}
	data := cmp.Or(e.Data, "not looked at yet")
	if data == etcdBusy {
		data = "in use by etcd"
	}
	line("member", member+", data "+data)
	if e.Row == "" {
		return
	}
	row := e.Row
	if e.Waits() {
		row = strings.ToUpper(e.Verdict) + ", " + e.Row
	}
	line("decision", fmt.Sprintf("%s, for %s", row, p.long(e.Decided)))
	if e.Row != rowRunning {
		line("", e.Why)
		if e.Hint != "" {
			line("", "what to do: "+e.Hint)
		}
	}
}

// etcdStored is what the leader's node knows: how much of the data is safe, and whether it is sound.
func (p *page) etcdStored(e *Etcd, line func(name, text string)) {
	line("alarms", strings.Join(e.Alarms, "; "))
	if e.Equal != "" {
		line("compared", fmt.Sprintf("%s, %s ago", e.Equal, p.long(e.Compared)))
	}
	if b := e.Backup; b == nil {
		line("backup", "none are taken: etcd.backup.disabled is set")
	} else {
		line("backup", b.words(p))
		if b.Failed != "" {
			line("", fmt.Sprintf("FAILED %s ago: %s", p.long(b.FailedAt), b.Failed))
		}
	}
	line("at risk", e.risk(p))
	if e.Delta != nil && e.Delta.Failed != "" {
		line("", fmt.Sprintf("FAILED, with %s held back: %s", Bytes(int64(e.Delta.Held)), e.Delta.Failed))
	}
	if d := e.Drill; d != nil {
		line("drill", d.words(p))
	}
}

// words is "3/20260314T092653Z-48213, 4 min 10 s ago, revision 48213, 312 MiB (41 MiB stored), 37 kept".
func (b *EtcdBackup) words(p *page) string {
	switch {
	case b.ID == "" && b.Failed == "":
		return "none of this generation is known yet"
	case b.ID == "":
		return "NONE of this generation is known"
	}
	return fmt.Sprintf("%s, %s ago, revision %d, %s (%s stored), %d kept",
		b.ID, p.long(b.Taken), b.Revision, Bytes(b.Size), Bytes(b.Stored), b.Count)
}

// risk is what a loss of all masters now would cost.
func (e *Etcd) risk(p *page) string {
	const lost = ", if all masters were lost now"
	stored := e.stored()
	switch {
	case e.Backup == nil || stored.IsZero() && e.Backup.Failed == "":
		return "" // nothing is known yet
	case stored.IsZero() && e.Lineage != nil && e.Lineage.Generation > 1:
		return "EVERYTHING of this generation" + lost
	case stored.IsZero():
		return "EVERYTHING" + lost
	case e.Delta == nil || e.Delta.Proved.IsZero():
		return "the last " + p.long(stored) + " of writes" + lost
	}
	return fmt.Sprintf("the last %s of writes%s; stored to revision %d", p.long(stored), lost, e.Delta.Reaches)
}

func (d *EtcdDrill) words(p *page) string {
	text := fmt.Sprintf("%s ago, of %s: ", p.long(d.At), d.Backup)
	if d.Failed != "" {
		return text + "FAILED: " + d.Failed
	}
	return text + fmt.Sprintf("restored to revision %d in %s", d.Revision, Duration(inSeconds(d.Seconds)))
}

func (b *EtcdBuilt) words(p *page) string {
	from := "from what lay here"
	if b.Backup != "" {
		from = "from backup " + b.Backup
	}
	return fmt.Sprintf("generation %d %s, revision %d, in %s, %s ago", b.Generation, from, b.Revision, Duration(inSeconds(b.Seconds)), p.long(b.At))
}

// etcdMembers is a table of the members, and then what is wrong with them. What only the leader's node asks for has no
// columns elsewhere, and instances have none while members are where their names say.
func (p *page) etcdMembers(e *Etcd) {
	if len(e.Members) == 0 {
		return
	}
	moved := slices.ContainsFunc(e.Members, func(m EtcdMember) bool { return m.Instance != m.Name })
	p.table(func(w io.Writer) {
		row := func(name, instance, role string, asked ...string) {
			cells := []string{"  " + name}
			if moved {
				cells = append(cells, instance)
			}
			cells = append(cells, role)
			if e.Leads {
				cells = append(cells, asked...)
			}
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
		row("MEMBER", "INSTANCE", "ROLE", "DATABASE", "IN USE", "QUOTA", "HEALTH")
		for i := range e.Members {
			m := &e.Members[i]
			row(oneLine(m.Name), oneLine(m.Instance), m.role(), append(m.sizes(), m.health())...)
		}
	})
	for _, m := range e.Members {
		if m.Lost != "" {
			p.note(m.Name + " is lost for good, says " + m.Lost)
		}
		if m.Health != "" && !m.ok() {
			p.note(m.Name + ": " + m.Health)
		}
	}
}

// note is a line of its own below a table.
func (p *page) note(text string) {
	for _, part := range wrap(oneLine(text), etcdColumns, runes) {
		fmt.Fprintf(p, "  %s\n", part)
	}
}

func runes(s string) float64 { return float64(utf8.RuneCountInString(s)) }

func (m *EtcdMember) health() string {
	switch {
	case m.Lost != "":
		return "lost"
	case m.Health == "":
		return "not asked yet"
	case m.ok():
		return m.Health
	}
	return "NOT OK"
}

// sizes are the database, how much of it is in use, and how much of the quota it takes.
func (m *EtcdMember) sizes() []string {
	if m.DBSize == 0 {
		return []string{"", "", ""}
	}
	quota := "none"
	if m.Quota > 0 {
		quota = fmt.Sprintf("%d %% of %s", m.DBSize*100/m.Quota, Bytes(m.Quota))
	}
	return []string{Bytes(m.DBSize), Bytes(m.InUse), quota}
}

// long is an age that may be of days.
func (p *page) long(since time.Time) string { return p.days(p.now.Sub(since)) }
