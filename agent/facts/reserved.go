package facts

const (
	mebi = 1 << 20
	gibi = 1 << 30
)

// Reserved is what the kubelet keeps from pods for itself, the runtime and the system.
type Reserved struct {
	CPUMillis             int64
	MemoryBytes           int64
	EphemeralStorageBytes int64
}

// KubeReserved makes the reservation of a node from the number of pods that it will really accept, after all caps:
// reserving for pods that can never come starved small nodes (awslabs/amazon-eks-ami #782, #1698, #2045), and a node
// whose whole memory was reserved could not run any (#2580).
//
// CPU is 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest. Memory is 255 MiB and
// 11 MiB per pod, but at most a quarter of the node's, which is also what other providers take of the first 4 GiB.
// Storage is 1 GiB, at most a tenth of the file system. So at least three quarters stay with the pods, whatever the
// machine. A memory or storage size that is not known (0 or less) reserves none of it.
func KubeReserved(maxPods, cpus int, memoryBytes, storageBytes int64) Reserved {
	return Reserved{
		CPUMillis:             reservedCPU(cpus),
		MemoryBytes:           max(0, min((11*int64(max(maxPods, 0))+255)*mebi, memoryBytes/4/mebi*mebi)),
		EphemeralStorageBytes: max(0, min(gibi, storageBytes/10/mebi*mebi)),
	}
}

func reservedCPU(cpus int) int64 {
	hundredths := int64(0) // of a millicore, so that 0.25 % of a core is a whole number
	for core := range cpus {
		switch {
		case core == 0:
			hundredths += 6000
		case core == 1:
			hundredths += 1000
		case core < 4:
			hundredths += 500
		default:
			hundredths += 250
		}
	}
	return hundredths / 100
}
