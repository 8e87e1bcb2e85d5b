package plan

import (
	"cmp"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"rekindle/agent/config"
	"rekindle/agent/status"
	"rekindle/roles"
)

// TestMakeRefuses puts one mistake into a sound input and wants it named, with its place and what to do.
func TestMakeRefuses(t *testing.T) {
	arg := func(v string) *string { return &v }
	for name, test := range map[string]struct {
		role string // default master
		edit func(*Input)
		want []string
	}{
		"undefined name in a file": {
			edit: func(in *Input) {
				in.Config.Files = []config.File{{Path: "/etc/x", Template: true, Content: "a\nb {{ .Env.NOWHERE }}\n"}}
			},
			want: []string{"files[/etc/x]:2:", "NOWHERE is not defined", "AVAIL_ZONE, CLUSTER", "set env.NOWHERE"},
		},
		"undefined name in a file of the older syntax": {
			edit: func(in *Input) {
				in.Role.Files = append(slices.Clone(in.Role.Files), roles.File{
					Path: "/etc/p", Syntax: roles.Percent, Source: "overlay/master/rootfs/etc/p", Text: "100%\na %%REGION%% %%NOPE%%\n",
				})
			},
			want: []string{"overlay/master/rootfs/etc/p:2: NOPE is not defined", "AVAIL_ZONE"},
		},
		"mistake in a partial": {
			edit: func(in *Input) {
				in.Role.Partials = append(slices.Clone(in.Role.Partials), roles.File{
					Path: "p.tmpl", Source: "overlay/master/partials/p.tmpl", Text: "{{ define \"p\" }}\n{{ .Env.NOPE }}{{ end }}",
				})
				in.Config.Files = []config.File{{Path: "/etc/x", Template: true, Content: "{{ include \"p\" . }}"}}
			},
			want: []string{"overlay/master/partials/p.tmpl:2:", "NOPE is not defined"},
		},
		"condition that is none": {
			edit: func(in *Input) {
				in.Role.Units = append(slices.Clone(in.Role.Units), roles.Unit{Name: "x.service", When: "perhaps"})
			},
			want: []string{"role master: unit x.service", `"perhaps" renders "perhaps"`},
		},
		"asset that the role does not have": {
			edit: func(in *Input) {
				in.Config.Files = []config.File{{Path: "/etc/x", Template: true, Content: "{{ wanted \"helm\" }}"}}
			},
			want: []string{"files[/etc/x]:1:", `no asset "helm"`},
		},
		"service network of another family": {
			edit: func(in *Input) { in.Config.Kubernetes.ServiceCIDRs = []string{"fd00:1::/112", "10.1.0.0/16"} },
			want: []string{"kubernetes.serviceCIDRs[0]", "put the other first"},
		},
		"unknown field of the data": {
			edit: func(in *Input) {
				in.Config.Files = []config.File{{Path: "/etc/x", Template: true, Content: "{{ .Nodes }}"}}
			},
			want: []string{"files[/etc/x]:1:", "Nodes"},
		},
		"template that does not parse": {
			edit: func(in *Input) {
				in.Config.Files = []config.File{{Path: "/etc/x", Template: true, Content: "\n{{ if }}"}}
			},
			want: []string{"files[/etc/x]:2: "},
		},
		"misspelt kubelet field": {
			edit: func(in *Input) { in.Config.Kubelet.Config = map[string]any{"maxPodz": 3} },
			want: []string{"/etc/kubernetes/kubelet.conf.d/50-operator.conf", "line 3", `unknown field "maxPodz"`, "kubelet.config in the configuration"},
		},
		"kubelet field in the wrong case": {
			edit: func(in *Input) { in.Config.Kubelet.Config = map[string]any{"MaxPods": 3} },
			want: []string{`unknown field "MaxPods"`},
		},
		"kubelet field of the wrong type": {
			edit: func(in *Input) { in.Config.Kubelet.Config = map[string]any{"evictionHard": "100Mi"} },
			want: []string{"50-operator.conf", "evictionHard"},
		},
		"kubelet field newer than the version": {
			edit: func(in *Input) {
				in.Config.Kubernetes.Version = "1.34.0"
				in.Config.Kubelet.Config = map[string]any{"tlsCurvePreferences": []any{29}}
			},
			want: []string{"kubelet.config.tlsCurvePreferences", "from Kubernetes 1.36 on"},
		},
		"flag that the version has no more": {
			edit: func(in *Input) {
				in.Config.Kubelet.ExtraArgs = map[string]*string{"pod-infra-container-image": arg("pause")}
			},
			want: []string{"kubelet extraArgs.pod-infra-container-image", "containerd.sandboxImage"},
		},
		"version that is not known": {
			edit: func(in *Input) { in.Config.Kubernetes.Version = "1.33.1" },
			want: []string{"kubernetes.version", "between 1.34 and 1.37"},
		},
		"version that is none": {
			edit: func(in *Input) { in.Config.Kubernetes.Version = "latest" },
			want: []string{"kubernetes.version", `"latest" is no version`},
		},
		"patch of a file that is not there": {
			edit: func(in *Input) {
				in.Config.Patches = []config.Patch{{Path: "/etc/kubernetes/manifests/kube-api.yaml", Patch: map[string]any{}}}
			},
			want: []string{"writes no such file", "/etc/kubernetes/manifests/kube-apiserver.yaml"},
		},
		"patch that does not apply": {
			edit: func(in *Input) {
				in.Config.Patches = []config.Patch{{Path: apiServerManifest, Patch: []any{
					map[string]any{"op": "replace", "path": "/spec/nowhere/0", "value": 1},
				}}}
			},
			want: []string{"patches: " + apiServerManifest, "nowhere", "rekindle plan"},
		},
		"patch that makes an unsound pod": {
			edit: func(in *Input) {
				in.Config.Patches = []config.Patch{{Path: apiServerManifest, Patch: map[string]any{"spec": map[string]any{"hostNet": true}}}}
			},
			want: []string{apiServerManifest, `unknown field "spec.hostNet"`, "line ", "roles/master/rootfs/etc/kubernetes/manifests/kube-apiserver.yaml.tmpl and from patches"},
		},
		"patch that is neither": {
			edit: func(in *Input) { in.Config.Patches = []config.Patch{{Path: apiServerManifest, Patch: "x"}} },
			want: []string{"a string is no patch"},
		},
		"static pod of a name that is taken": {
			edit: func(in *Input) { in.Config.StaticPods = map[string]map[string]any{"kube-apiserver": {}} },
			want: []string{"staticPods.kube-apiserver", "patch it, or choose another name"},
		},
		"static pod that needs the API": {
			edit: func(in *Input) {
				in.Config.StaticPods = map[string]map[string]any{"x": {
					"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "x"},
					"spec": map[string]any{
						"containers": []any{map[string]any{"name": "x", "image": "x"}},
						"volumes":    []any{map[string]any{"name": "s", "secret": map[string]any{"secretName": "s"}}},
					},
				}}
			},
			want: []string{"/etc/kubernetes/manifests/x.yaml", "volume s", "use a hostPath"},
		},
		"relative path": {
			edit: func(in *Input) { in.Config.Files = []config.File{{Path: "etc/x", Content: "x"}} },
			want: []string{"relative"},
		},
		"path that climbs": {
			edit: func(in *Input) { in.Config.Files = []config.File{{Path: "/etc/../etc/x", Content: "x"}} },
			want: []string{`write "/etc/x"`},
		},
		"path of the kernel": {
			edit: func(in *Input) {
				in.Config.Files = []config.File{{Path: "/proc/sys/net/ipv4/ip_forward", Content: "1"}}
			},
			want: []string{"use sysctls"},
		},
		"the hosts file": {
			edit: func(in *Input) { in.Config.Files = []config.File{{Path: "/etc/hosts", Content: "x"}} },
			want: []string{"kept by the agent"},
		},
		"file in the way of a directory": {
			edit: func(in *Input) { in.Config.Files = []config.File{{Path: "/etc/kubernetes/manifests", Content: "x"}} },
			want: []string{"is there twice", "lies under /etc/kubernetes/manifests, which is a file"},
		},
		"file given twice": {
			edit: func(in *Input) {
				in.Config.Files = []config.File{{Path: "/etc/x", Content: "a"}, {Path: "/etc/x", Content: "b"}}
			},
			want: []string{"files: /etc/x", "given twice"},
		},
		"bad mode": {
			edit: func(in *Input) { in.Config.Files = []config.File{{Path: "/etc/x", Mode: "0999", Content: "x"}} },
			want: []string{"not octal"},
		},
		"bad TOML": {
			edit: func(in *Input) { in.Config.Containerd.Config = "a = 1\nb = = 2\n" },
			want: []string{"containerd.config", "line 2:"},
		},
		"unit with a misspelt section": {
			edit: func(in *Input) {
				in.Config.Units = []config.Unit{{Name: "x.service", Content: "[Unit]\nDescription=x\n[Srevice]\nExecStart=/bin/true\n"}}
			},
			want: []string{"/etc/systemd/system/x.service", "line 3", "[Srevice]", "ExecStart"},
		},
		"unit with a relative command": {
			edit: func(in *Input) {
				in.Config.Units = []config.Unit{{Name: "x.service", Content: "[Service]\nExecStart=true\n"}}
			},
			want: []string{"line 2", "no absolute path"},
		},
		"unit that is none": {
			edit: func(in *Input) { in.Config.Units = []config.Unit{{Name: "x.sevrice"}} },
			want: []string{"unit x.sevrice", "no kind of unit"},
		},
		"sysctl without a value": {
			edit: func(in *Input) { in.Config.Sysctls = map[string]string{"vm.swappiness": " "} },
			want: []string{"/etc/sysctl.d/90-rekindle.conf", "write name = value"},
		},
		"label that the kubelet may not set": {
			edit: func(in *Input) { in.Config.Node.Labels = map[string]string{"node-role.kubernetes.io/master": ""} },
			want: []string{"node.labels.node-role.kubernetes.io/master", "label the node with kubectl"},
		},
		"label that keeps the kubelet from starting": {
			edit: func(in *Input) { in.Config.Node.Labels = map[string]string{"storage.k8s.io/fast": "yes"} },
			want: []string{"node.labels.storage.k8s.io/fast", "refuses to start"},
		},
		"name that no shell has": {
			edit: func(in *Input) { in.Config.Env = map[string]string{"A-B": "x"} },
			want: []string{"env.A-B"},
		},
		"no address of the family": {
			edit: func(in *Input) { in.Config.Node.IPFamily = "ipv6" },
			want: []string{"node.ipFamily", "no IPv6 address"},
		},
		"pod network that is too small": {
			edit: func(in *Input) { in.Config.Kubernetes.PodCIDRs = []string{"10.9.0.0/26"} },
			want: []string{"kubernetes.podCIDRs[0]", "10.9.0.0/26", "between /8 and /24"},
		},
		"pod network that is too large": {
			edit: func(in *Input) { in.Config.Kubernetes.PodCIDRs = []string{"10.9.0.0/16", "fd00::/32"} },
			want: []string{"kubernetes.podCIDRs[1]", "between /48 and /64"},
		},
		"endpoint that is no URL": {
			edit: func(in *Input) { in.Config.Kubernetes.APIEndpoint = "api.example" },
			want: []string{"kubernetes.apiEndpoint", "https://<host>:<port>"},
		},
		"etcd flag that the agent decides": {
			edit: func(in *Input) { in.Config.Etcd.ExtraArgs = map[string]*string{"initial-cluster-state": arg("new")} },
			want: []string{"etcd.extraArgs.initial-cluster-state", "the agent decides it"},
		},
		"etcd flag that is no duration": {
			edit: func(in *Input) { in.Config.Etcd.ExtraArgs = map[string]*string{"corrupt-check-time": arg("1 hour")} },
			want: []string{"etcd.extraArgs.corrupt-check-time", "write it like 5s"},
		},
		"etcd cluster that is not known": {
			edit: func(in *Input) { in.Config.Etcd.Clusters = []string{"main", "leases"} },
			want: []string{"etcd.clusters", `"leases"`},
		},
		"certificate of an authority that is not held": {
			role: "minion",
			edit: func(in *Input) {
				in.Role.Certs = append(slices.Clone(in.Role.Certs), roles.Cert{
					Path: "/etc/x.crt", Key: "/etc/x.key", Authority: "etcd", CommonName: "x", Usages: []string{"client"},
				})
			},
			want: []string{"role minion: cert /etc/x.crt", "does not hold authority etcd", "add it to the role's authorities"},
		},
		"certificate that nobody signs": {
			role: "minion",
			edit: func(in *Input) {
				in.Role.Certs = append(slices.Clone(in.Role.Certs), roles.Cert{
					Path: "/etc/x.crt", Key: "/etc/x.key", Authority: "kubernetes", CommonName: "x", Usages: []string{"client"},
				})
			},
			want: []string{"role minion: cert /etc/x.crt", "does not hold the key of authority kubernetes", "set join to one of kubelet-client"},
		},
		"certificate asked for twice": {
			role: "minion",
			edit: func(in *Input) {
				in.Role.Certs = append(slices.Clone(in.Role.Certs), roles.Cert{
					Path: "/etc/x.crt", Key: "/etc/x.key", Authority: "kubernetes", CommonName: "x", Usages: []string{"client"}, Join: "kube-proxy",
				})
			},
			want: []string{"cert /etc/x.crt", "signs kube-proxy once for a node", "/etc/kubernetes/pki/kube-proxy/client.crt"},
		},
		"certificate whose condition is none": {
			edit: func(in *Input) {
				in.Role.Certs = append(slices.Clone(in.Role.Certs), roles.Cert{
					Path: "/etc/x.crt", Authority: "etcd", CommonName: "x", Usages: []string{"client"}, When: "perhaps",
				})
			},
			want: []string{"role master: cert /etc/x.crt", `renders "perhaps"`},
		},
		"certificate for a name that is none": {
			edit: func(in *Input) {
				in.Role.Certs = append(slices.Clone(in.Role.Certs), roles.Cert{
					Path: "/etc/x.crt", Authority: "etcd", CommonName: "x", Names: []string{"{{ .Cluster }}/x"}, Usages: []string{"server"},
				})
			},
			want: []string{"cert /etc/x.crt", `name "prod.example/x" is neither`},
		},
		"server whose names render to nothing": {
			edit: func(in *Input) {
				in.Role.Certs = append(slices.Clone(in.Role.Certs), roles.Cert{
					Path: "/etc/x.crt", Authority: "etcd", CommonName: "x", Names: []string{"{{ .Config.Environment }}, ,"}, Usages: []string{"server"},
				})
				in.Config.Environment = ""
			},
			want: []string{"cert /etc/x.crt", "needs names"},
		},
		"mistake in a certificate's name": {
			edit: func(in *Input) {
				in.Role.Certs = append(slices.Clone(in.Role.Certs), roles.Cert{
					Path: "/etc/x.crt", Authority: "etcd", CommonName: "{{ .Nodename }}", Usages: []string{"client"},
				})
			},
			want: []string{"role master: cert /etc/x.crt:1:", "Nodename"},
		},
		"kubeconfig for no URL": {
			edit: func(in *Input) {
				in.Role.Certs = append(slices.Clone(in.Role.Certs), roles.Cert{
					Path: "/etc/x.conf", Authority: "kubernetes", CommonName: "x", Usages: []string{"client"}, Kubeconfig: "{{ .Node.IP }}:6443",
				})
			},
			want: []string{"cert /etc/x.conf", `kubeconfig "10.0.1.17:6443"`, "https://<host>:<port>"},
		},
		"file where a certificate is": {
			edit: func(in *Input) {
				in.Config.Files = []config.File{{Path: "/etc/kubernetes/pki/ca.crt", From: "s3:pki/ca.crt"}, {Path: "/etc/kubernetes/pki/apiserver.key/x", Content: "x"}}
			},
			want: []string{"/etc/kubernetes/pki/ca.crt: is there twice, as file and as authority kubernetes", "lies under /etc/kubernetes/pki/apiserver.key"},
		},
		"manifest without the mark of its inputs": {
			edit: func(in *Input) {
				in.Role.Files = slices.Clone(in.Role.Files)
				for i, f := range in.Role.Files {
					in.Role.Files[i].Text = strings.ReplaceAll(f.Text, InputsMark, "none")
				}
			},
			want: []string{apiServerManifest + ": has inputs and nowhere to put their digest", "annotation rekindle/inputs"},
		},
		"mark without inputs": {
			edit: func(in *Input) { in.Config.Files = []config.File{{Path: "/etc/x", Content: "a @inputs@\n"}} },
			want: []string{"/etc/x: has @inputs@ and no inputs"},
		},
		"inputs in a circle": {
			edit: func(in *Input) {
				in.Role.Files = append(slices.Clone(in.Role.Files),
					roles.File{Path: "/etc/x", Text: InputsMark, Syntax: roles.Plain, Inputs: []string{"/etc/y"}},
					roles.File{Path: "/etc/y", Text: InputsMark, Syntax: roles.Plain, Inputs: []string{"/etc/x"}})
			},
			want: []string{"/etc/x: its inputs lead back to itself"},
		},
		"inputs that are no glob": {
			edit: func(in *Input) {
				in.Role.Units = append(slices.Clone(in.Role.Units), roles.Unit{Name: "x.service", Inputs: []string{"/etc/[x"}})
			},
			want: []string{"role master: unit x.service: inputs", `"/etc/[x"`, "syntax error in pattern"},
		},
		"exclusive of a unit that is not there": {
			edit: func(in *Input) {
				in.Role.Files = append(slices.Clone(in.Role.Files), roles.File{Path: "/etc/x", Syntax: roles.Plain, Exclusive: "x.service"})
			},
			want: []string{"/etc/x: exclusive: x.service is no unit of the plan"},
		},
		"object that is not published": {
			edit: func(in *Input) {
				delete(in.Manifest, "runc/linux/amd64/runc")
				delete(in.Manifest, "kubernetes/v1.37.2/linux/amd64/kubelet")
			},
			want: []string{"kubernetes/v1.37.2/linux/amd64/kubelet, runc/linux/amd64/runc", "rekindle publish"},
		},
		"two mistakes at once": {
			edit: func(in *Input) {
				in.Config.Kubelet.Config = map[string]any{"maxPodz": 3}
				in.Config.Units = []config.Unit{{Name: "x.service", Content: "[Service]\n"}}
			},
			want: []string{"maxPodz", "x.service"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := readCase(t, cmp.Or(test.role, "master")+"-aws")
			test.edit(&in)
			_, err := Make(in)
			if err == nil {
				t.Fatal("made a plan")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
		})
	}
}

// TestMakeReasons: what carries a reason can be matched by scripts.
func TestMakeReasons(t *testing.T) {
	in := readCase(t, "minion-aws")
	delete(in.Manifest, "runc/linux/amd64/runc")
	_, err := Make(in)
	if reason, hint := status.ReasonOf(err); reason != status.ReasonAssetMissing || hint == "" {
		t.Errorf("got reason %s, hint %q", reason, hint)
	}
	in = readCase(t, "minion-aws")
	in.Config.Kubernetes.Version = "2"
	_, err = Make(in)
	if reason, _ := status.ReasonOf(err); reason != status.ReasonPlanInvalid {
		t.Errorf("got reason %s", reason)
	}
	if _, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); !ok {
		t.Error("the mistakes cannot be taken apart")
	}
}

// TestKubeletConfigWhole: whoever pastes a whole KubeletConfiguration gets it, and a wrong kind is refused.
func TestKubeletConfigWhole(t *testing.T) {
	in := readCase(t, "minion-aws")
	in.Config.Kubelet.Config = map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "podPidsLimit": 4096,
	}
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(p.Files, func(f File) bool { return f.Path == "/etc/kubernetes/kubelet.conf.d/50-operator.conf" })
	want := "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\npodPidsLimit: 4096\n"
	if i < 0 || p.Files[i].Content != want {
		t.Errorf("%d: %q", i, p.Files[max(i, 0)].Content)
	}
	in.Config.Kubelet.Config["kind"] = "KubeProxyConfiguration"
	if _, err := Make(in); err == nil || !strings.Contains(err.Error(), "50-operator.conf") {
		t.Errorf("another kind passed: %v", err)
	}
}

// TestManifestUnknown: without a list of what there is, what is required is planned and what is optional is not.
func TestManifestUnknown(t *testing.T) {
	in := readCase(t, "minion-aws")
	for _, in.Manifest = range []map[string]string{nil, {}} {
		p, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Assets) != 4 || len(p.Warnings) != 1 || p.Assets[0].SHA256 != "" {
			t.Errorf("%d assets, warnings %q", len(p.Assets), p.Warnings)
		}
	}
}

// TestNoKubelet: a cluster-wide configuration has static pods and a kernel's cgroup that an etcd node cannot use; neither
// keeps it from booting.
func TestNoKubelet(t *testing.T) {
	in := readCase(t, "etcd-aws")
	in.Config.StaticPods = map[string]map[string]any{"x": {}}
	in.Facts.Machine.CgroupV2 = false
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"staticPods.x: left out: role etcd has no kubelet to run it"}; !slices.Equal(p.Warnings, want) {
		t.Errorf("%q", p.Warnings)
	}
}

// TestUnknownFlags: a misspelt flag is told, with the one that was meant; a known one is not.
func TestUnknownFlags(t *testing.T) {
	val := "x"
	in := readCase(t, "master-aws")
	in.Config.Kubernetes.APIServer.ExtraArgs = map[string]*string{
		"oidc-issuer-ulr": &val, "oidc-client-id": &val, "audit-webhook-batch-max-size": &val, "ours": nil,
	}
	in.Config.Kubernetes.Proxy.ExtraArgs = map[string]*string{"frobnicate-the-thing": &val}
	in.Config.Join.IAMRoles = []string{"minion"}
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"kube-apiserver extraArgs.oidc-issuer-ulr: no component of Kubernetes 1.34 to 1.37 has this flag, did you mean oidc-issuer-url?",
		"kube-proxy extraArgs.frobnicate-the-thing: no component of Kubernetes 1.34 to 1.37 has this flag",
	}
	if !slices.Equal(p.Warnings, want) {
		t.Errorf("%q", p.Warnings)
	}
}

// TestRolesUseKnownFlags: every flag that the built-in roles pass exists.
func TestRolesUseKnownFlags(t *testing.T) {
	known, seen := knownFlags(), 0
	flag := regexp.MustCompile(`(?m)(?:^|[ "])--([a-z][a-z0-9-]*)=`)
	for _, name := range cases(t) {
		p, err := Make(readCase(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Files {
			if !strings.HasPrefix(f.Path, manifestsDir+"/kube-") && !strings.HasSuffix(f.Path, "/rekindle-flags.env") {
				continue
			}
			for _, m := range flag.FindAllStringSubmatch(f.Content, -1) {
				if seen++; !slices.Contains(known, m[1]) {
					t.Errorf("%s: %s: there is no flag %s", name, f.Path, m[1])
				}
			}
		}
	}
	if seen < 500 {
		t.Errorf("looked at %d flags only", seen)
	}
}

// TestMakeIsPure: the same input makes the same plan, and the input stays as it was.
func TestMakeIsPure(t *testing.T) {
	for _, name := range cases(t) {
		in := readCase(t, name)
		before, err := yaml.Dump(in)
		if err != nil {
			t.Fatal(err)
		}
		var prints [2]strings.Builder
		for i := range prints {
			p, err := Make(in)
			if err != nil {
				t.Fatal(err)
			}
			if err := Print(&prints[i], p); err != nil {
				t.Fatal(err)
			}
		}
		if prints[0].String() != prints[1].String() {
			t.Errorf("%s: two plans of one input differ", name)
		}
		after, err := yaml.Dump(in)
		if err != nil {
			t.Fatal(err)
		}
		if string(before) != string(after) {
			t.Errorf("%s: Make changed its input", name)
		}
	}
}

// TestRolesHaveCases: every role that a node can have is in some golden case.
func TestRolesHaveCases(t *testing.T) {
	entries, err := os.ReadDir("../../roles")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, name := range cases(t) {
		in := readCase(t, name)
		used[in.Role.Name] = true
		for _, parent := range in.Role.Extends {
			used[parent] = true
		}
	}
	for _, e := range entries {
		if e.IsDir() && !used[e.Name()] {
			t.Errorf("role %s is in no case of testdata", e.Name())
		}
	}
}
