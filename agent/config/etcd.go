package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func (v *validator) etcd() {
	e := v.config.Etcd
	for i, name := range e.Clusters {
		if name == "" {
			v.bad(at("etcd.clusters", i), "an etcd cluster without a name", "write main or events")
		}
		v.oneOf(at("etcd.clusters", i), name, "main", "events")
	}
	if !slices.Contains(e.Clusters, "main") {
		v.bad("etcd.clusters", "main is missing", "write [main] or [main, events]")
	}
	unique(v, "etcd.clusters", e.Clusters, func(c string) string { return c }, "")
	if e.Version != "" {
		if major, minor, ok := v.semver("etcd.version", e.Version, "3.6.16"); ok && (major != 3 || minor < 5 || minor > 7) {
			v.bad("etcd.version", fmt.Sprintf("etcd %d.%d is not known to this agent", major, minor), "write a version from 3.5 to 3.7, all three numbers")
		}
	}
	v.oneOf("etcd.runAs", e.RunAs, "pod", "unit")
	schemes := []string{"https"}
	if e.Plaintext {
		v.warn("etcd.plaintext", "etcd without TLS: whoever reaches its port reads and writes every secret of the cluster", "remove it outside of a laboratory")
		schemes = []string{"http", "https"}
	}
	for i, text := range e.Endpoints {
		path := at("etcd.endpoints", i)
		if u := v.endpoint(path, text, schemes, false); u != nil && u.Port() == "" {
			v.bad(path, "no port in "+quote(text), "write "+clip(text, 80)+":2379")
		}
	}
	unique(v, "etcd.endpoints", e.Endpoints, func(u string) string { return strings.TrimSuffix(u, "/") }, "")
	v.image("etcd.image", e.Image)
	v.flags("etcd.extraArgs", e.ExtraArgs)
	switch q := e.QuotaBytes; {
	case q == 0 && !v.isSet("etcd.quotaBytes"):
	case q < 64<<20 || q > 64<<30:
		v.bad("etcd.quotaBytes", fmt.Sprintf("%d is out of range", q), "write bytes, from 67108864 (64 MiB) to 68719476736 (64 GiB)")
	case q > 8<<30:
		v.warn("etcd.quotaBytes", "more than the 8 GiB that etcd suggests at most", "write 8589934592, and compact more often")
	}
	v.etcdBackup()
}

const day = 24 * time.Hour

func (v *validator) etcdBackup() {
	b := v.config.Etcd.Backup
	v.within("etcd.backup.interval", b.Interval, time.Minute, day)
	v.within("etcd.backup.deltas", b.Deltas, time.Second, 10*time.Minute)
	v.within("etcd.backup.drill", b.Drill, time.Hour, 30*day)
	v.within("etcd.backup.keep.all", b.Keep.All, 10*time.Minute, 30*day)
	v.within("etcd.backup.keep.hourly", b.Keep.Hourly, time.Hour, 365*day)
	v.within("etcd.backup.keep.daily", b.Keep.Daily, day, 3650*day)
	if b.SpoolDir != "" && !absolute(b.SpoolDir) {
		v.bad("etcd.backup.spoolDir", "not an absolute path: "+quote(b.SpoolDir), "write /var/lib/rekindle/spool, or another directory with room for etcd's database")
	}
	if b.Disabled {
		v.warn("etcd.backup.disabled", "no backups: when all masters are lost, so is the cluster", "remove it")
	}
}
