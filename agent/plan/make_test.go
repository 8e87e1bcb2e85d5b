package plan

import (
	"net/netip"
	"testing"

	"rekindle/agent/config"
	"rekindle/agent/facts"
	"rekindle/roles"
)

func TestMakeSmoke(t *testing.T) {
	for _, name := range []string{"master", "minion", "loadbalancer", "etcd"} {
		role, err := roles.Load(roles.Builtin(), nil, name)
		if err != nil {
			t.Fatal(err)
		}
		c, problems := config.Check("user-data", []byte("cluster: test.example\nstore: s3://bucket/p\nkubernetes: {version: 1.37.2}\n"))
		if len(problems) > 0 {
			t.Log(problems)
		}
		p, err := Make(Input{Config: *c, Role: role, Facts: facts.Facts{Instance: facts.Instance{ID: "i-1", Zone: "cn-north-1a", Region: "cn-north-1", PrivateIPv4: netip.MustParseAddr("10.0.0.1")}, Machine: facts.Machine{Arch: "amd64", CPUs: 2, MemoryBytes: 8 << 30, CgroupV2: true}}})
		if err != nil {
			t.Error(name, err)
			continue
		}
		for _, f := range p.Files {
			t.Logf("%s %s\n%s", name, f.Path, f.Content)
		}
		t.Logf("%+v", p.Units)
	}
}
