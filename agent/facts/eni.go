package facts

import (
	_ "embed"
	"strconv"
	"strings"
)

//go:generate go run ./internal/enigen github.com/aws/amazon-vpc-cni-k8s@v1.23.2 eni.txt

// The table of the Amazon VPC CNI plugin: "m5.large 3 10" per line, sorted.
//
//go:embed eni.txt
var eniTable string

// MaxPodsUnknown is the number of pods of an instance type that is not in the table, Kubernetes' own default.
const MaxPodsUnknown = 110

// LimitsOf looks an instance type up; nil when the table does not know it.
func LimitsOf(instanceType string) *ENILimits {
	if instanceType == "" {
		return nil
	}
	_, rest, found := strings.Cut(eniTable, "\n"+instanceType+" ")
	if !found {
		return nil
	}
	line, _, _ := strings.Cut(rest, "\n")
	interfaces, addresses, _ := strings.Cut(line, " ")
	n, err := strconv.Atoi(interfaces)
	if err != nil {
		return nil
	}
	m, err := strconv.Atoi(addresses)
	if err != nil {
		return nil
	}
	return &ENILimits{Interfaces: n, IPv4PerInterface: m}
}

// MaxPods is how many pods the Amazon VPC CNI plugin has addresses for: one address of each interface is its own, and
// two pods of the host's network need none. It is capped where the kubelet was tested: 110 below 30 CPUs, else 250.
// Without limits it is MaxPodsUnknown, and known is false: the caller warns (status.ReasonInstanceType).
func MaxPods(limits *ENILimits, cpus int) (pods int, known bool) {
	if limits == nil {
		return MaxPodsUnknown, false
	}
	bound := 110
	if cpus >= 30 {
		bound = 250
	}
	return max(1, min(limits.Interfaces*(limits.IPv4PerInterface-1)+2, bound)), true
}
