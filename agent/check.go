package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"rekindle/agent/config"
	"rekindle/agent/facts"
	"rekindle/agent/plan"
	"rekindle/roles"
)

// Finding is what Check found in one role of one file.
type Finding struct {
	Role string
	Errs []error
}

// Check validates one user-data file and, if it is sound, renders the roles with it: the given one, the file's own, or
// all. It asks nobody: seen is the node to render for. What the file may leave to other layers gets an example's value.
func Check(name string, data []byte, role string, overlay fs.FS, seen facts.Facts) (config.Problems, []Finding) {
	asked, problems := config.Check(name, data)
	if asked == nil {
		return problems, nil
	}
	complete(asked)
	for _, overlap := range overlaps(asked, seen) {
		overlap.File = name
		problems = append(problems, overlap)
	}
	names := []string{cmp.Or(role, asked.Role)}
	var findings []Finding
	if names[0] == "" {
		var err error
		if names, err = roles.List(roles.Builtin(), overlay); err != nil {
			return problems, []Finding{{Role: "*", Errs: []error{err}}}
		}
	}
	for _, name := range names {
		if errs := render(*asked, name, overlay, seen); len(errs) > 0 {
			findings = append(findings, Finding{name, errs})
		}
	}
	return problems, findings
}

// newestVersion is the newest Kubernetes that the roles are made for.
const newestVersion = "1.37.2"

// complete fills in what another layer would give, so that the roles render.
func complete(asked *config.Config) {
	if asked.Cluster == "" {
		asked.Cluster = "example"
	}
	if asked.Kubernetes.Version == "" {
		asked.Kubernetes.Version = newestVersion
	}
}

func render(asked config.Config, name string, overlay fs.FS, seen facts.Facts) []error {
	role, err := roles.Load(roles.Builtin(), overlay, name)
	if err != nil {
		return []error{err}
	}
	asked.Role = name
	want, err := plan.Make(plan.Input{Config: asked, Role: role, Facts: seen})
	if err != nil {
		return split(err)
	}
	return plan.Check(want)
}

// overlaps are the cluster's networks that share addresses with the VPC. They are warnings: clusters live with it, as
// long as nobody needs the addresses that pods or services hide.
func overlaps(asked *config.Config, seen facts.Facts) config.Problems {
	problems := asked.Overlaps(seen.Instance.VPCCIDRs)
	for i := range problems {
		problems[i].Warning = true
	}
	return problems
}

// split takes joined errors apart.
func split(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

// Example is a node that renders every role: what `rekindle check` uses when it is given no facts.
func Example() facts.Facts {
	return facts.Facts{
		Instance: facts.Instance{
			ID: "i-0123456789abcdef0", Type: "m6i.large", ImageID: "ami-0123456789abcdef0", AccountID: "123456789012",
			Region: "cn-north-1", Zone: "cn-north-1a", ZoneID: "cnn1-az1", Partition: "aws-cn", DNSSuffix: "amazonaws.com.cn",
			PrivateDNSName: "ip-10-0-1-20.cn-north-1.compute.internal", PrivateIPv4: netip.MustParseAddr("10.0.1.20"),
			IPv6: netip.MustParseAddr("2400:7fc0:1::20"), MAC: "0a:00:00:00:00:01",
			SubnetCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, // and no VPC: no network can be said to overlap with it
			Lifecycle:   "on-demand", TargetLifecycleState: "InService",
		},
		Machine: facts.Machine{
			Hostname: "ip-10-0-1-20", Kernel: "6.12.0", Arch: "amd64", CPUs: 2, MemoryBytes: 8 << 30, StorageBytes: 40 << 30, CgroupV2: true,
			Interfaces: []facts.Interface{{Name: "ens5", MAC: "0a:00:00:00:00:01", MTU: 9001, Up: true,
				Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.1.20/24")}}},
			DefaultRoute: &facts.Route{Interface: "ens5", Gateway: netip.MustParseAddr("10.0.1.1"), MTU: 9001},
			ResolvConf:   "/etc/resolv.conf",
			ENI:          &facts.ENILimits{Interfaces: 3, IPv4PerInterface: 10},
		},
	}
}

func (f Finding) Error() string { return fmt.Sprintf("role %s: %v", f.Role, errors.Join(f.Errs...)) }
