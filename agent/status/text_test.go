package status

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const day = 86_400 // seconds

// fullStatus has every key of the file.
func fullStatus() *Status {
	return &Status{
		Version: Version, State: StateDegraded, Reason: ReasonUnitFailed,
		Message: "unit node-exporter.service: exit code 203", Hint: "read `journalctl -u node-exporter.service`",
		Since: at(3600), Identity: masterID,
		Agent: Agent{Version: "v0.1.0", PID: 812, StartTicks: 4242, Started: bootStart, Heartbeat: at(7200)},
		Boot: Boot{Started: bootStart, Ready: at(4.207), Seconds: 4.207, Sources: []Source{
			{"defaults", "rekindle v0.1.0"}, {"ami", "/etc/rekindle/10-site.yaml"},
			{"store", "s3://prod-store/k8s/cluster.yaml"}, {"user-data", "IMDS"}, {"tags", "rekindle:role=master"},
		}},
		Waits: []Pending{
			{"etcd main: member healthy", "3 of 3 voters", "2 of 3 voters: 10.0.2.7 does not answer", at(7170), at(7470)},
			{"network", "a default route", "", at(7199), time.Time{}},
			{"spot", "the node to drain", "", at(7000), at(7100)},
		},
		Assets: Assets{Source: "s3://prod-store/k8s", Mirrors: []string{"https://mirror.example.cn/k8s"}, Manifest: "ab12cd34",
			Modified: bootStart, Signed: true, Verified: true, Stale: true, Objects: 12, Bytes: 1 << 30, Fetched: 412 << 20},
		Apply: Apply{At: at(7000), Seconds: 1.2, Changes: 11, Plan: "9f86d081", Changed: []string{
			"/etc/hosts", "/etc/rekindle/env", "/a", "/b", "/c", "/d", "/e", "/f", "/g", "kubelet.service", "x.service"}},
		Authorities: []Authority{
			{"kubernetes", strings.Repeat("0a1b2c3d", 8), at(3650 * day), true},
			{"service-account", strings.Repeat("4e5f6071", 8), time.Time{}, false},
		},
		Certificates: []Certificate{
			{"/etc/kubernetes/pki/apiserver.crt", "kube-apiserver", "kubernetes", at(19.5 * day), at(9.5 * day), BySelf},
			{"/etc/kubernetes/pki/etcd/peer.crt", "i-0abc12de34f567890", "etcd", at(21 * day), at(3600), BySelf},
			{"/var/lib/kubelet/pki/kubelet.crt", "system:node:i-0abc12de34f567890", "kubernetes", at(30 * day), at(20 * day), ByJoin},
		},
		Join: &JoinServer{Listen: "[::]:3988", Granted: 2000, Refused: map[string]int{"Replayed": 2, "WrongRole": 1},
			Last: Refusal{"Replayed", "i-0fedcba9876543210", at(7188)}},
		Etcd:      []Etcd{fullEtcd()},
		Discovery: fullDiscovery(),
		Warnings:  []Warning{{ReasonInstanceType, "x9.huge", ReasonInstanceType.Hint(), at(1)}, {ReasonDriftRepaired, "/etc/hosts", "", at(2)}},
		Units: []Unit{
			{Name: "containerd.service", State: "active", Since: at(3.4)}, {Name: "kubelet.service", State: "active", Since: at(4.2)},
			{Name: "node-exporter.service", State: "failed", Since: at(3600), Message: "exit code 203"},
			{Name: "etcd-events.service", State: "activating"},
		},
	}
}

func TestStatusTextGolden(t *testing.T) {
	now := bootStart.Add(2 * time.Hour)
	ready := fullStatus()
	ready.State, ready.Reason, ready.Message, ready.Hint = StateReady, ReasonReady, "", ""
	ready.Agent.Stopped, ready.Agent.Once = bootStart.Add(time.Minute), true
	ready.Waits, ready.Warnings, ready.Assets.Stale = nil, nil, false
	ready.Certificates[1].RenewAfter = ready.Certificates[1].NotAfter
	ready.Authorities[0].Rotating, ready.Join = false, nil
	failed := &Status{State: StateFailed, Reason: ReasonAssetCorrupt, Since: bootStart, Message: "assets: bin/kubelet:\x1b[2J sha256 mismatch",
		Hint: ReasonAssetCorrupt.Hint(), Agent: Agent{Version: "v0.1.0", PID: 812, Started: bootStart}, Boot: Boot{Started: bootStart}}
	stale, at7201 := fullStatus(), bootStart.Add(7201*time.Second)
	stale.Agent.Stopped = at7201
	stale.Stale = staleness(stale.Agent, false, now)
	stale.Certificates[0].NotAfter, stale.Join.Listen = now.Add(-2*time.Minute), ""
	for name, s := range map[string]*Status{"degraded": fullStatus(), "ready": ready, "failed": failed, "stale": stale} {
		golden(t, "status-"+name+".txt", s.text(false, now))
	}
	golden(t, "status-colour.txt", fullStatus().text(true, now))
}

// Whatever etcd is at, its part of the page says it in a hundred columns.
func TestEtcdTextGolden(t *testing.T) {
	now := bootStart.Add(2 * time.Hour)
	for name, etcd := range etcds {
		t.Run(name, func(t *testing.T) {
			e, p := etcd(), &page{now: now}
			p.etcd(&e)
			golden(t, "etcd-"+name+".txt", p.Bytes())
			for line := range strings.Lines(p.String()) {
				if utf8.RuneCountInString(line) > 101 {
					t.Errorf("longer than a terminal is wide: %s", line)
				}
			}
		})
	}
}

func TestStatusTextColour(t *testing.T) {
	var plain, colour bytes.Buffer
	if err := fullStatus().Text(&plain, false); err != nil {
		t.Fatal(err)
	}
	if err := fullStatus().Text(&colour, true); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(colour.String(), "\x1b[1;33mDEGRADED\x1b[0m") {
		t.Error("colour does not follow the argument")
	}
}
