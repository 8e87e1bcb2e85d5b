package status

import (
	"slices"
	"time"

	"rekindle/agent/log"
)

// Etcd changes what is shown of a cluster, and what is warned of.
func (b *Board) Etcd(cluster string, edit func(*Etcd)) {
	b.update(func(s *Status) {
		i := slices.IndexFunc(s.Etcd, func(e Etcd) bool { return e.Cluster == cluster })
		if i < 0 {
			i = len(s.Etcd)
			s.Etcd = append(s.Etcd, Etcd{Cluster: cluster, Members: []EtcdMember{}, Alarms: []string{}, Aside: []EtcdAside{}})
		}
		e := &s.Etcd[i]
		led, backup, delta := e.Leads, copied(e.Backup), copied(e.Delta)
		edit(e)
		*e = e.clone() // whoever edited may still read what it put there
		e.tidy()
		e.lead(led)
		e.keepIntervals(backup, delta)
		s.warnOfEtcd(e)
	})
}

// lead begins or ends what this node knows because its member leads. The next leader knows better from now on, and a node
// that merely follows must not alarm about what it kept.
func (e *Etcd) lead(led bool) {
	switch {
	case e.Leads && !led:
		e.Led = time.Now()
	case !e.Leads && led:
		e.Led, e.Compared, e.Equal = time.Time{}, time.Time{}, ""
		e.Backup, e.Delta, e.Alarms = nil, nil, []string{}
		for i := range e.Members {
			m := &e.Members[i]
			m.Health, m.Version, m.DBSize, m.InUse, m.Quota = "", "", 0, 0, 0
		}
	}
}

// keepIntervals saves those who tell of a backup from telling the configuration every time.
func (e *Etcd) keepIntervals(backup *EtcdBackup, delta *EtcdDelta) {
	if e.Backup != nil && backup != nil && e.Backup.Interval == 0 {
		e.Backup.Interval = backup.Interval
	}
	if e.Delta != nil && delta != nil && e.Delta.Interval == 0 {
		e.Delta.Interval = delta.Interval
	}
}

// etcdShown bounds a text that came from another machine, in bytes.
const etcdShown = 600

// tidy takes from texts what may not be in a file that everybody reads: credentials in URLs, control characters, length.
func (e *Etcd) tidy() {
	texts := []*string{&e.Why, &e.Hint, &e.Equal}
	if e.Lineage != nil {
		texts = append(texts, &e.Lineage.Unknown)
	}
	if e.Backup != nil {
		texts = append(texts, &e.Backup.Failed)
	}
	if e.Delta != nil {
		texts = append(texts, &e.Delta.Failed)
	}
	if e.Drill != nil {
		texts = append(texts, &e.Drill.Failed)
	}
	for i := range e.Members {
		texts = append(texts, &e.Members[i].Health)
	}
	for i := range e.Alarms {
		texts = append(texts, &e.Alarms[i])
	}
	for i := range e.Aside {
		texts = append(texts, &e.Aside[i].Why)
	}
	if e.Built != nil {
		for i := range e.Built.Warnings {
			texts = append(texts, &e.Built.Warnings[i])
		}
	}
	for _, text := range texts {
		*text = bound(oneLine(log.Redact(*text)), etcdShown)
	}
}

func cloneEtcd(all []Etcd) []Etcd {
	clones := make([]Etcd, 0, len(all))
	for _, e := range all {
		clones = append(clones, e.clone())
	}
	return clones
}

// clone is a copy that does not change any more.
func (e Etcd) clone() Etcd {
	e.Members, e.Alarms = append([]EtcdMember{}, e.Members...), append([]string{}, e.Alarms...)
	e.Aside = append([]EtcdAside{}, e.Aside...)
	e.Lineage, e.Backup, e.Delta, e.Drill = copied(e.Lineage), copied(e.Backup), copied(e.Delta), copied(e.Drill)
	if e.Built = copied(e.Built); e.Built != nil {
		e.Built.Warnings = slices.Clone(e.Built.Warnings)
	}
	return e
}

func copied[T any](of *T) *T {
	if of == nil {
		return nil
	}
	c := *of
	return &c
}
