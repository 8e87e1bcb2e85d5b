package status

import "time"

// The etcd clusters that pages and metrics are drawn from, two hours after bootStart.

func at(s float64) time.Time { return bootStart.Add(time.Duration(s * float64(time.Second))) }

var etcdMembers = []EtcdMember{
	{Name: "i-0abc12de34f567890", Instance: "i-0abc12de34f567890", Address: "10.0.1.5"},
	{Name: "i-0bbb12de34f567891", Instance: "i-0bbb12de34f567891", Address: "10.0.2.5"},
	{Name: "i-0ccc12de34f567892", Instance: "i-0ccc12de34f567892", Address: "10.0.3.5", Learner: true},
}

func etcdOf(row, verdict, why, hint, data string) Etcd {
	return Etcd{
		Cluster: "main", Verdict: verdict, Row: row, Why: why, Hint: hint, Decided: at(6000), Data: data,
		Lineage: &EtcdLineage{UID: "5f1c0a9e7d3b2c44", Generation: 3, State: "running", Holder: "i-0abc12de34f567890"},
		Members: append([]EtcdMember{}, etcdMembers...), Alarms: []string{}, Aside: []EtcdAside{},
	}
}

// followingEtcd is what every master but one shows.
func followingEtcd() Etcd {
	e := etcdOf("running", "start", "etcd runs", "", "busy")
	e.Member = etcdMembers[0].Name
	return e
}

// leadingEtcd is a healthy cluster of which this node's member leads.
func leadingEtcd() Etcd {
	e := followingEtcd()
	e.Leads, e.Led, e.Equal, e.Compared = true, at(600), "equal", at(3600)
	for i := range e.Members {
		m := &e.Members[i]
		m.Health, m.Version, m.DBSize, m.InUse, m.Quota = "ok", "3.6.16", 312<<20, 120<<20, 8<<30
	}
	e.Backup = &EtcdBackup{Interval: 900, ID: "3/20260314T112243Z-48213", Taken: at(6950), Revision: 48213, Size: 312 << 20, Stored: 41 << 20, Count: 37}
	e.Delta = &EtcdDelta{Interval: 2, Reaches: 51004, Proved: at(7198), Held: 1300}
	e.Drill = &EtcdDrill{At: at(-5 * 3600), Backup: "3/20260314T042243Z-31009", Revision: 33120, Seconds: 41.2}
	return e
}

// fullEtcd has every key of the file.
func fullEtcd() Etcd {
	e := leadingEtcd()
	e.Hint, e.Lineage.Change = "nothing", "promote i-0ccc12de34f567892 by i-0ccc12de34f567892"
	e.Lineage.Unknown = "store s3://prod-store/k8s: etcd/main/lineage.json: 503 SlowDown"
	e.Members[1].Health = "10.0.2.5:2379: status: context deadline exceeded"
	e.Members[2].Lost, e.Members[2].Instance = "operator", "i-0ddd12de34f567893"
	e.Alarms = []string{"NOSPACE i-0abc12de34f567890"}
	e.Backup.Failed, e.Backup.FailedAt = "store s3://prod-store/k8s: 403 AccessDenied", at(7100)
	e.Delta.Failed, e.Drill.Failed = "store s3://prod-store/k8s: 503 SlowDown", "what was restored is torn: page 7: already freed"
	e.Built = &EtcdBuilt{At: at(-4 * day), Generation: 3, Backup: "2/20260310T091243Z-29001", Revision: 1000029001, Seconds: 12.3,
		Warnings: []string{"backup 2/20260310T092743Z-29907 is corrupt and was passed over: chunk 3: sha256 mismatch"}}
	e.Aside = []EtcdAside{{Path: "/var/lib/etcd/main/aside-20260310T092501Z", Since: at(-4 * day), Bytes: 310 << 20, Why: "own data is torn: page 7: already freed"}}
	return e
}

// etcds are the cases that an operator may meet.
var etcds = map[string]func() Etcd{
	"leader":   leadingEtcd,
	"follower": followingEtcd,
	"full":     fullEtcd,
	"quorum": func() Etcd {
		e := etcdOf("wait quorum", "wait", "no quorum answers (10.0.2.5:2379: connection refused), and not everyone is gone: "+
			"i-0bbb12de34f567891 on i-0bbb12de34f567891 (stopped)",
			"start the instances that are stopped; if one is lost for good, terminate it, or run `rekindle etcd recover`", "empty")
		e.Members = e.Members[1:]
		return e
	},
	"restoring": func() Etcd {
		e := etcdOf("resume restore", "restore", "this instance began to restore 2/20260310T091243Z-29001", "", "empty")
		e.Member, e.Lineage.State, e.Members = etcdMembers[0].Name, "restoring", e.Members[:1]
		return e
	},
	"unread": func() Etcd {
		e := etcdOf("unknown", "wait", "the lineage cannot be read: store s3://prod-store/k8s: 403 AccessDenied",
			"allow s3:GetObject and s3:ListBucket on the store", "sound")
		e.Lineage, e.Members = &EtcdLineage{Unknown: "store s3://prod-store/k8s: 403 AccessDenied"}, []EtcdMember{}
		return e
	},
	"gone": func() Etcd {
		e := etcdOf("run without record", "start", "the lineage is gone from the store; etcd runs on", "say what is true with `rekindle etcd adopt`", "busy")
		e.Member, e.Lineage = etcdMembers[0].Name, nil
		return e
	},
	"failing": func() Etcd {
		e := leadingEtcd()
		e.Backup.Taken = at(-3600)
		e.Backup.Failed, e.Backup.FailedAt = "store s3://prod-store/k8s: etcd/main/backups/3/20260314T112243Z-51004/manifest.json: 403 AccessDenied: "+
			"allow s3:PutObject on the store to the instance's role", at(7130)
		e.Delta = nil
		return e
	},
	"never": func() Etcd {
		e := leadingEtcd()
		e.Backup = &EtcdBackup{Interval: 900, Failed: "spool /var/lib/rekindle/spool: no space left on device", FailedAt: at(7190)}
		e.Delta, e.Drill = nil, nil
		return e
	},
	"elected": func() Etcd { // a leader that has not looked at the store yet
		e := leadingEtcd()
		e.Led, e.Equal, e.Compared, e.Backup, e.Delta, e.Drill = at(7199), "", time.Time{}, &EtcdBackup{Interval: 900}, &EtcdDelta{Interval: 2}, nil
		for i := range e.Members {
			e.Members[i].Health, e.Members[i].DBSize = "", 0
		}
		return e
	},
	"first": func() Etcd { // a new cluster whose first backup failed
		e := leadingEtcd()
		e.Lineage.Generation, e.Delta, e.Drill = 1, &EtcdDelta{Interval: 2}, nil
		e.Backup = &EtcdBackup{Interval: 900, Failed: "spool /var/lib/rekindle/spool: no space left on device", FailedAt: at(7190)}
		return e
	},
	"disabled": func() Etcd {
		e := leadingEtcd()
		e.Backup, e.Delta, e.Drill = nil, nil, nil
		return e
	},
	"nospace": func() Etcd {
		e := leadingEtcd()
		e.Members[0].DBSize, e.Members[0].InUse = 8<<30, 7900<<20
		e.Alarms = []string{"NOSPACE i-0abc12de34f567890: the keys themselves fill the database: delete what nobody needs, or raise etcd.quotaBytes"}
		return e
	},
}
