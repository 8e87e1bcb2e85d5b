package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rekindle/agent/log"
)

// deltaLagWarned is how much of the newest writes may be stored nowhere before it is a warning, unless deltas are stored
// less often than three times in it.
const deltaLagWarned = time.Minute

// intervalsMissed is how many intervals may go by without a backup, or a delta, before it is a warning.
const intervalsMissed = 3

// warnOfEtcd replaces what is warned of about a cluster: one warning of each reason, which keeps its time while its text
// changes.
func (s *Status) warnOfEtcd(e *Etcd) {
	prefix, now := "etcd "+e.Cluster+": ", time.Now()
	for _, w := range []struct {
		reason Reason
		text   string // empty: there is nothing to warn of
	}{
		{ReasonEtcdRecordGone, e.recordGone()},
		{ReasonEtcdRecordUnknown, e.recordUnknown()},
		{ReasonEtcdNoBackup, e.noBackup(now)},
		{ReasonEtcdBackupFailing, e.backupFailing(now)},
		{ReasonEtcdDeltaLag, e.deltaLags(now)},
		{ReasonEtcdDrillFailed, e.drillFailed()},
		{ReasonEtcdMembersDiffer, e.membersDiffer()},
		{ReasonEtcdAlarm, strings.Join(e.Alarms, "; ")},
		{ReasonEtcdDataSetAside, e.setAside()},
	} {
		is := func(old Warning) bool { return old.Reason == w.reason && strings.HasPrefix(old.Message, prefix) }
		i := slices.IndexFunc(s.Warnings, is)
		switch {
		case w.text == "":
			s.Warnings = slices.DeleteFunc(s.Warnings, is)
		case i < 0:
			s.warn(w.reason, "", prefix+log.Redact(w.text))
		default:
			s.Warnings[i].Message = prefix + log.Redact(w.text)
		}
	}
}

func (e *Etcd) recordGone() string {
	if e.Row != rowGone {
		return ""
	}
	return e.Why
}

func (e *Etcd) recordUnknown() string {
	if e.Lineage == nil {
		return ""
	}
	return e.Lineage.Unknown
}

// noBackup: what only the leader's node can tell, like the rest below.
func (e *Etcd) noBackup(now time.Time) string {
	b := e.Backup
	switch {
	case !e.Leads || b == nil || b.ID != "":
		return ""
	case b.Failed != "":
		return "no backup of this generation is known: " + b.Failed
	case b.Interval > 0 && now.Sub(e.Led) > intervalsMissed*b.interval():
		return "no backup of this generation is known, and none was finished since " + clock(e.Led)
	}
	return ""
}

func (e *Etcd) backupFailing(now time.Time) string {
	b := e.Backup
	if !e.Leads || b == nil || b.ID == "" || now.Sub(b.Taken) <= intervalsMissed*b.interval() {
		return ""
	}
	text := "the newest backup is of " + clock(b.Taken)
	switch {
	case b.Failed != "":
		return text + ": " + b.Failed
	case b.Interval > 0 && now.Sub(e.Led) > intervalsMissed*b.interval(): // a new leader may be about to take one
		return text + ", and none was finished since"
	}
	return ""
}

func (e *Etcd) deltaLags(now time.Time) string {
	d := e.Delta
	if !e.Leads || d == nil {
		return ""
	}
	limit, stored := max(deltaLagWarned, intervalsMissed*d.interval()), e.stored()
	if stored.IsZero() || now.Sub(stored) <= limit || now.Sub(e.Led) <= limit { // a new leader learns first how far the last one came
		return ""
	}
	text := "what was written after " + clock(stored) + " is stored nowhere else"
	if d.Failed != "" {
		text += ": " + d.Failed
	}
	return text
}

func (e *Etcd) drillFailed() string {
	if !e.Leads || e.Drill == nil || e.Drill.Failed == "" {
		return ""
	}
	return fmt.Sprintf("backup %s could not be restored: %s", e.Drill.Backup, e.Drill.Failed)
}

func (e *Etcd) membersDiffer() string {
	if !e.Differs() {
		return ""
	}
	return e.Equal
}

func (e *Etcd) setAside() string {
	const shown = 3
	var texts []string
	for _, a := range e.Aside[max(0, len(e.Aside)-shown):] {
		text := a.Path
		if a.Why != "" {
			text += " (" + a.Why + ")"
		}
		texts = append(texts, text)
	}
	if more := len(e.Aside) - shown; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d older", more))
	}
	return strings.Join(texts, "; ")
}

// stored is until when everything that was written is in the store; zero: nothing is.
func (e *Etcd) stored() time.Time {
	var until time.Time
	if e.Backup != nil && e.Backup.ID != "" {
		until = e.Backup.Taken
	}
	if e.Delta != nil && e.Delta.Proved.After(until) {
		until = e.Delta.Proved
	}
	return until
}

func (b *EtcdBackup) interval() time.Duration { return inSeconds(b.Interval) }
func (d *EtcdDelta) interval() time.Duration  { return inSeconds(d.Interval) }

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
