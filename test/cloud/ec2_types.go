package cloud

import (
	"maps"
	"slices"
)

// instanceType is the part of a type's description that node agents read.
type instanceType struct {
	arch                        string
	vcpus, memoryMiB            int
	interfaces, addressesPerENI int
}

// instanceTypes are a few of each kind: small and large, x86 and Graviton. Numbers are those of AWS's tables.
var instanceTypes = map[string]instanceType{
	"t3.micro":    {"x86_64", 2, 1024, 2, 2},
	"t3.small":    {"x86_64", 2, 2048, 3, 4},
	"t3.medium":   {"x86_64", 2, 4096, 3, 6},
	"t4g.medium":  {"arm64", 2, 4096, 3, 6},
	"m5.large":    {"x86_64", 2, 8192, 3, 10},
	"m5.xlarge":   {"x86_64", 4, 16384, 4, 15},
	"m5.4xlarge":  {"x86_64", 16, 65536, 8, 30},
	"m6g.large":   {"arm64", 2, 8192, 3, 10},
	"c5.large":    {"x86_64", 2, 4096, 3, 10},
	"c5.18xlarge": {"x86_64", 72, 147456, 15, 50},
	"r5.large":    {"x86_64", 2, 16384, 3, 10},
}

func architecture(name string) string {
	if t, found := instanceTypes[name]; found {
		return t.arch
	}
	return "x86_64"
}

type xmlInstanceType struct {
	Name          string   `xml:"instanceType"`
	Current       bool     `xml:"currentGeneration"`
	Hypervisor    string   `xml:"hypervisor"`
	Architectures []string `xml:"processorInfo>supportedArchitectures>item"`
	VCPUs         int      `xml:"vCpuInfo>defaultVCpus"`
	MemoryMiB     int      `xml:"memoryInfo>sizeInMiB"`
	Interfaces    int      `xml:"networkInfo>maximumNetworkInterfaces"`
	Cards         int      `xml:"networkInfo>maximumNetworkCards"`
	IPv4PerENI    int      `xml:"networkInfo>ipv4AddressesPerInterface"`
	IPv6PerENI    int      `xml:"networkInfo>ipv6AddressesPerInterface"`
	IPv6          bool     `xml:"networkInfo>ipv6Supported"`
}

func describeInstanceTypes(a *call) (any, error) {
	wanted := a.form.list("InstanceType")
	for _, name := range wanted {
		if _, found := instanceTypes[name]; !found {
			return nil, errorf(400, "InvalidInstanceType", "The following supplied instance types do not exist: [%s]", name)
		}
	}
	var all []xmlInstanceType
	for _, name := range slices.Sorted(maps.Keys(instanceTypes)) {
		t := instanceTypes[name]
		accepted, err := a.accept(nil, func(filter string) ([]string, bool) {
			v, known := map[string]string{
				"instance-type": name, "processor-info.supported-architecture": t.arch,
			}[filter]
			return []string{v}, known
		})
		if err != nil {
			return nil, err
		}
		if accepted && (len(wanted) == 0 || slices.Contains(wanted, name)) {
			all = append(all, xmlInstanceType{
				name, true, "nitro", []string{t.arch}, t.vcpus, t.memoryMiB,
				t.interfaces, 1, t.addressesPerENI, t.addressesPerENI, true,
			})
		}
	}
	items, next, err := ec2Page(a, all)
	return struct {
		Types     []xmlInstanceType `xml:"instanceTypeSet>item"`
		NextToken string            `xml:"nextToken,omitempty"`
	}{items, next}, err
}
