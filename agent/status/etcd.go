package status

import (
	"slices"
	"time"
)

// Etcd is what the node knows of one etcd cluster of which it carries a member.
type Etcd struct {
	Cluster string `json:"cluster"` // main or events
	// What was decided last about this node's member, and why: the rows of docs/etcd.md.
	Verdict string    `json:"verdict"`
	Row     string    `json:"row"`
	Why     string    `json:"why"`
	Decided time.Time `json:"decided"` // when it became that

	Lineage *EtcdLineage `json:"lineage,omitempty"`
	Member  string       `json:"member,omitempty"` // this node's
	Data    string       `json:"data"`             // empty, sound, torn or busy
	Members []EtcdMember `json:"members"`          // as the lineage lists them

	Leads  bool     `json:"leads"` // this node's member leads: the agent here looks after the cluster
	Alarms []string `json:"alarms"`
	// Equal tells whether all members hold the same data, by the last comparison of hashes; empty: not compared yet.
	Equal    string    `json:"equal,omitempty"` // equal, differs: <who>, or why it could not be compared
	Compared time.Time `json:"compared,omitzero"`

	Backup *EtcdBackup `json:"backup,omitempty"` // kept by the node whose member leads
	Delta  *EtcdDelta  `json:"delta,omitempty"`  // likewise
	Drill  *EtcdDrill  `json:"drill,omitempty"`
	Built  *EtcdBuilt  `json:"built,omitempty"` // what the present data was made of, if this node made it
}

// EtcdLineage is the record in the store.
type EtcdLineage struct {
	UID        string `json:"uid"`
	Generation int    `json:"generation"`
	State      string `json:"state"`
	Holder     string `json:"holder"`           // the instance that wrote last
	Change     string `json:"change,omitempty"` // the change of membership under way
	Unknown    string `json:"unknown,omitempty"`
}

// EtcdMember is one member.
type EtcdMember struct {
	Name     string `json:"name"`
	Instance string `json:"instance"`
	Address  string `json:"address,omitempty"`
	Learner  bool   `json:"learner,omitempty"`
	Lost     string `json:"lost,omitempty"`
	// What follows is asked for by the node whose member leads.
	Health  string `json:"health,omitempty"` // ok, or what is wrong; empty: not asked
	Version string `json:"version,omitempty"`
	DBSize  int64  `json:"dbSize,omitempty"` // bytes
	InUse   int64  `json:"inUse,omitempty"`  // bytes of it
	Quota   int64  `json:"quota,omitempty"`  // bytes
}

// EtcdBackup is the newest full backup that counts, and what became of the last attempt.
type EtcdBackup struct {
	ID       string    `json:"id,omitempty"`
	Taken    time.Time `json:"taken,omitzero"`
	Revision int64     `json:"revision,omitempty"`
	Size     int64     `json:"size,omitempty"`   // bytes of the database
	Stored   int64     `json:"stored,omitempty"` // bytes in the store
	Count    int       `json:"count"`            // complete ones in the store
	Failed   string    `json:"failed,omitempty"` // why the last attempt failed
	FailedAt time.Time `json:"failedAt,omitzero"`
}

// EtcdDelta is how far what is stored reaches beyond the backup.
type EtcdDelta struct {
	Reaches int64     `json:"reaches"`          // revision
	Proved  time.Time `json:"proved,omitzero"`  // everything written before is stored
	Held    int       `json:"held"`             // bytes not stored yet
	Failed  string    `json:"failed,omitempty"` // why the last upload failed
}

// EtcdDrill is the last time that a restore was tried.
type EtcdDrill struct {
	At       time.Time `json:"at"`
	Backup   string    `json:"backup"`
	Revision int64     `json:"revision,omitempty"`
	Seconds  float64   `json:"seconds,omitempty"`
	Failed   string    `json:"failed,omitempty"`
}

// EtcdBuilt is data that this node made.
type EtcdBuilt struct {
	At         time.Time `json:"at"`
	Generation int       `json:"generation"`
	Backup     string    `json:"backup,omitempty"` // empty: from its own data
	Revision   int64     `json:"revision"`
	Seconds    float64   `json:"seconds"`
	Warnings   []string  `json:"warnings,omitempty"`
}

// Etcd changes what is shown of a cluster.
func (b *Board) Etcd(cluster string, edit func(*Etcd)) {
	b.update(func(s *Status) {
		for i := range s.Etcd {
			if s.Etcd[i].Cluster == cluster {
				edit(&s.Etcd[i])
				return
			}
		}
		e := Etcd{Cluster: cluster, Members: []EtcdMember{}, Alarms: []string{}}
		edit(&e)
		s.Etcd = append(s.Etcd, e)
	})
}

func cloneEtcd(all []Etcd) []Etcd {
	all = append([]Etcd{}, all...)
	for i := range all {
		e := &all[i]
		e.Members, e.Alarms = append([]EtcdMember{}, e.Members...), append([]string{}, e.Alarms...)
		e.Lineage, e.Backup, e.Delta, e.Drill = copied(e.Lineage), copied(e.Backup), copied(e.Delta), copied(e.Drill)
		if e.Built = copied(e.Built); e.Built != nil {
			e.Built.Warnings = slices.Clone(e.Built.Warnings)
		}
	}
	return all
}

func copied[T any](of *T) *T {
	if of == nil {
		return nil
	}
	c := *of
	return &c
}
