package facts

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestLimitsOf(t *testing.T) {
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/AvailableIpPerENI.html; p4d has four cards, and only the
	// default one counts.
	for name, want := range map[string]ENILimits{
		"m5.large": {3, 10}, "t3.nano": {2, 2}, "c5.18xlarge": {15, 50}, "c6g.xlarge": {4, 15}, "p4d.24xlarge": {15, 50},
	} {
		if got := LimitsOf(name); got == nil || *got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"", "m5", "large", "m99.large", "#", "m5.large 3"} {
		if got := LimitsOf(name); got != nil {
			t.Errorf("%q: %v", name, *got)
		}
	}
}

func TestENITableIsWhole(t *testing.T) {
	var names []string
	for line := range strings.Lines(eniTable) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, _, _ := strings.Cut(line, " ")
		if l := LimitsOf(name); l == nil || l.Interfaces < 1 || l.IPv4PerInterface < 2 {
			t.Errorf("%q", line)
		}
		names = append(names, name)
	}
	if len(names) < 1000 || !slices.IsSorted(names) || len(slices.Compact(names)) != len(names) {
		t.Errorf("%d types, sorted %t", len(names), slices.IsSorted(names))
	}
}

func TestMaxPods(t *testing.T) {
	for _, tt := range []struct {
		limits *ENILimits
		cpus   int
		pods   int
		known  bool
	}{
		{nil, 2, 110, false},
		{LimitsOf("t3.nano"), 2, 4, true},
		{LimitsOf("m5.large"), 2, 29, true},
		{LimitsOf("m5.4xlarge"), 16, 110, true},  // 234
		{LimitsOf("m5.8xlarge"), 32, 234, true},  // as it is
		{LimitsOf("m5.24xlarge"), 96, 250, true}, // 737
		{&ENILimits{Interfaces: 8, IPv4PerInterface: 30}, 29, 110, true},
		{&ENILimits{Interfaces: 8, IPv4PerInterface: 30}, 30, 234, true},
		{&ENILimits{}, 1, 2, true},
	} {
		if pods, known := MaxPods(tt.limits, tt.cpus); pods != tt.pods || known != tt.known {
			t.Errorf("%+v, %d CPUs: %d, %t; want %d, %t", tt.limits, tt.cpus, pods, known, tt.pods, tt.known)
		}
	}
}

func TestKubeReserved(t *testing.T) {
	for _, tt := range []struct {
		name            string
		pods, cpus      int
		memory, storage int64
		cpu, mem, disk  int64
	}{
		{"m5.large", 29, 2, 8 * gibi, 100 * gibi, 70, (11*29 + 255) * mebi, gibi},
		{"c5.xlarge", 58, 4, 8 * gibi, 20 * gibi, 80, (11*58 + 255) * mebi, gibi},
		{"m5.24xlarge, capped", 250, 96, 384 * gibi, 100 * gibi, 310, 3005 * mebi, gibi},
		{"five cores", 110, 5, 16 * gibi, 100 * gibi, 82, 1465 * mebi, gibi},
		{"t3.nano", 4, 2, 512 * mebi, 8 * gibi, 70, 128 * mebi, 819 * mebi},
		{"a small node with many pods", 110, 2, 2 * gibi, 8 * gibi, 70, 512 * mebi, 819 * mebi},
		{"nothing known", 110, 0, 0, 0, 0, 0, 0},
		{"nonsense", -5, -1, -1, -1, 0, 0, 0},
	} {
		want := Reserved{tt.cpu, tt.mem, tt.disk}
		if got := KubeReserved(tt.pods, tt.cpus, tt.memory, tt.storage); got != want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, want)
		}
	}
}

// Whatever the machine and whatever the number of pods that somebody configured, the node can run some.
func TestReservationLeavesRoom(t *testing.T) {
	const evictionHard = 100 * mebi // the kubelet's memory.available threshold comes off as well
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		pods, cpus := random.IntN(2000), 1+random.IntN(512)
		memory := 256*mebi + random.Int64N(24<<40)
		storage := gibi + random.Int64N(64<<40)
		r := KubeReserved(pods, cpus, memory, storage)
		switch {
		case memory-r.MemoryBytes-evictionHard <= 0, r.MemoryBytes > memory/4, r.MemoryBytes < 0:
			t.Fatalf("%d pods, %d bytes: reserved %d", pods, memory, r.MemoryBytes)
		case r.CPUMillis > int64(cpus)*60, r.CPUMillis < 60:
			t.Fatalf("%d cpus: reserved %dm", cpus, r.CPUMillis)
		case r.EphemeralStorageBytes > storage/10, r.EphemeralStorageBytes < 0:
			t.Fatalf("%d bytes of storage: reserved %d", storage, r.EphemeralStorageBytes)
		}
	}
}
