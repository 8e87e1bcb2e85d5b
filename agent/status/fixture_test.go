package status

import (
	"fmt"
	"time"
)

// The boots that the pictures are drawn from. Times are milliseconds since the start.

var bootStart = time.Date(2026, 3, 14, 9, 26, 53, 589_000_000, time.UTC)

func span(name string, from, to float64, steps ...*Span) *Span {
	at := func(ms float64) time.Time { return bootStart.Add(time.Duration(ms * float64(time.Millisecond))) }
	return &Span{Name: name, Start: at(from), End: at(to), Attempts: 1, Steps: steps}
}

func (s *Span) moved(bytes int64) *Span  { s.Bytes = bytes; return s }
func (s *Span) tries(n int) *Span        { s.Attempts = n; return s }
func (s *Span) failed(text string) *Span { s.Error = text; return s }
func (s *Span) unfinished() *Span        { s.End = time.Time{}; return s }

func timeline(id Identity, root *Span) *Timeline {
	taken := root.End
	if taken.IsZero() {
		taken = bootStart.Add(3 * time.Second)
	}
	return &Timeline{Root: root, Identity: id, Taken: taken}
}

var masterID = Identity{
	Cluster: "prod", Role: "master", Instance: "i-0abc12de34f567890", Node: "i-0abc12de34f567890",
	Zone: "cn-north-1a", Region: "cn-north-1", Partition: "aws-cn",
}

func imdsSpan() *Span {
	return span("imds", 4, 31,
		span("token", 4, 9),
		span("identity", 9, 17),
		span("tags", 9, 31).tries(3),
	)
}

// masterBoot is a cold boot of 4.2 s: everything comes over the network.
func masterBoot() *Timeline {
	objects := []*Span{
		span("images/kube-apiserver-v1.37.2.tar", 96, 2_640).moved(600 << 20),
		span("bin/kubelet", 97, 702).moved(58 << 20),
		span("bin/containerd", 97, 560).moved(41 << 20),
		span("bin/etcd", 98, 410).moved(26 << 20),
		span("bin/etcdctl", 98, 377).moved(18 << 20),
		span("bin/runc", 98, 240).moved(10 << 20),
		span("bin/kubectl", 241, 790).moved(57 << 20),
		span("bin/ecr-credential-provider", 380, 604).moved(22 << 20).tries(2),
		span("images/pause-3.10.tar", 412, 455).moved(340 << 10),
		span("images/kube-controller-manager-v1.37.2.tar", 562, 1_210).moved(93 << 20),
		span("images/kube-scheduler-v1.37.2.tar", 606, 1_090).moved(71 << 20),
		span("cni/plugins-v1.9.0.tgz", 704, 986).moved(52 << 20),
	}
	return timeline(masterID, span("boot", 0, 4_207,
		imdsSpan(),
		span("config", 31, 58, span("store cluster.yaml", 33, 57).moved(3_412)),
		span("store manifest", 58, 94).moved(41_700),
		span("assets", 95, 2_655, objects...),
		span("etcd main", 95, 3_020,
			span("decide", 95, 214),
			span("restore", 214, 1_830, span("snapshot.zst", 220, 1_180).moved(212<<20), span("verify", 1_180, 1_829)),
			span("wait: member healthy", 2_655, 3_018),
		),
		span("files", 3_020, 3_061),
		span("units", 3_061, 4_205,
			span("containerd.service", 3_062, 3_420),
			span("kubelet.service", 3_421, 4_203),
		),
	))
}

// failedBoot ends with an object that no source has right, while another step still runs.
func failedBoot() *Timeline {
	corrupt := "object bin/kubelet: chunk 3 of objects/ab12cd34: sha256 mismatch on s3://prod-store/k8s and " +
		"https://mirror.example.cn/k8s <tampered?>"
	id := masterID
	id.Role = "minion"
	return timeline(id, span("boot", 0, 41_230,
		imdsSpan(),
		span("wait: tags role", 31, 30_410).tries(58),
		span("config", 30_410, 30_450),
		span("store manifest", 30_450, 30_490).moved(41_700),
		span("assets", 30_490, 41_225,
			span("bin/containerd", 30_491, 31_022).moved(41<<20),
			span("bin/kubelet", 30_491, 41_222).moved(116<<20).tries(6).failed(corrupt),
			span("images/pause-3.10.tar", 31_022, 0).moved(340<<10).unfinished(),
		).failed("assets: "+corrupt),
	).failed("assets: "+corrupt))
}

// warmBoot finds everything in the cache.
func warmBoot() *Timeline {
	id := masterID
	id.Role = "loadbalancer"
	return timeline(id, span("boot", 0, 90,
		span("imds", 1, 8, span("token", 1, 3), span("identity", 3, 5), span("tags", 3, 8)),
		span("config", 8, 9.4),
		span("store manifest", 9.4, 21).moved(41_700),
		span("assets", 21, 22.1),
		span("files", 22.1, 28),
		span("units", 28, 89.7, span("containerd.service", 28.2, 61), span("kubelet.service", 61, 89.6)),
	))
}

// crowdedBoot has more objects than a terminal has lines.
func crowdedBoot() *Timeline {
	var objects []*Span
	for i := range 90 {
		from := 120 + float64(i/8)*90 + float64(i%8)*7
		objects = append(objects, span(fmt.Sprintf("objects/%02x/layer-%03d.tar.zst", i*37%256, i), from, from+60+float64(i*31%70)).
			moved(int64(4+i%9)<<20))
	}
	objects = append(objects, span("images/big.tar", 121, 3_900).moved(600<<20))
	return timeline(masterID, span("boot", 0, 4_100, imdsSpan(), span("assets", 110, 3_910, objects...), span("units", 3_910, 4_090)))
}

// runningBoot is looked at while it lasts.
func runningBoot() *Timeline {
	return timeline(Identity{}, span("boot", 0, 0,
		span("imds", 4, 20),
		span("assets", 95, 0, span("bin/kubelet", 97, 702).moved(58<<20), span("bin/etcd", 98, 0).moved(3<<20).unfinished()).unfinished(),
	).unfinished())
}
