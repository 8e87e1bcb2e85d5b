package plan

import (
	"strings"
	"testing"
)

// TestCheckFile gives single files to what checks them by path and kind. An empty want passes.
func TestCheckFile(t *testing.T) {
	const kubeconfigHead = "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {server: https://x, certificate-authority: /ca}\n" +
		"users:\n- name: u\n  user: {client-certificate: /c, client-key: /k}\n"
	for name, test := range map[string]struct {
		path, text string
		want       []string
	}{
		"kubeconfig":                {"/etc/kubernetes/x.conf", kubeconfigHead + "contexts:\n- name: d\n  context: {cluster: c, user: u}\ncurrent-context: d\n", nil},
		"kubeconfig with a key":     {"/etc/kubernetes/x.conf", "apiVersion: v1\nkind: Config\nusers:\n- name: u\n  user:\n    client-key-data: QUJD\n", []string{"line 6", "client-key-data"}},
		"kubeconfig that leads off": {"/etc/kubernetes/x.conf", kubeconfigHead + "contexts:\n- name: d\n  context: {cluster: q, user: r}\ncurrent-context: e\n", []string{`cluster "q"`, `user "r"`, `"e" is not there`}},
		"pod of two documents":      {"/etc/kubernetes/manifests/a.yaml", "apiVersion: v1\nkind: Pod\n---\nkind: Pod\n", []string{"only one YAML document"}},
		"deployment for a pod":      {"/etc/kubernetes/manifests/a.yaml", "apiVersion: apps/v1\nkind: Deployment\n", []string{"is no v1 Pod"}},
		"hidden manifest":           {"/etc/kubernetes/manifests/.a.yaml", "apiVersion: v1\nkind: Pod\n", []string{"rename it"}},
		"pod with a key twice":      {"/etc/kubernetes/manifests/a.yaml", "apiVersion: v1\nkind: Pod\nkind: Pod\n", []string{"kind"}},
		"pod without name":          {"/etc/kubernetes/manifests/a.yaml", "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: a, volumeMounts: [{name: v, mountPath: /v}]}]}\n", []string{"metadata.name", "mounts v"}},
		"any YAML":                  {"/etc/prometheus.yaml", "apiVersion: example/v1\nkind: Anything\nfield: 1\n", nil},
		"any YAML that is none":     {"/etc/prometheus.yaml", "a: [\n", []string{"no sound YAML"}},
		"kubelet drop-in":           {"/etc/kubernetes/kubelet.conf.d/60-x.conf", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 5\n", nil},
		"kubelet read-only port":    {"/etc/kubernetes/kubelet.conf.d/60-x.conf", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nreadOnlyPort: 10255\n", []string{"readOnlyPort 10255"}},
		"kubelet shutdown":          {"/var/lib/kubelet/config.yaml", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nshutdownGracePeriod: 10s\nshutdownGracePeriodCriticalPods: 20s\n", []string{"longer than"}},
		"kubelet version":           {"/var/lib/kubelet/config.yaml", "apiVersion: kubelet.config.k8s.io/v1beta2\nkind: KubeletConfiguration\n", []string{"KubeletConfiguration of kubelet.config.k8s.io/v1beta2 is not known", "v1beta1"}},
		"kubelet drop-in of a pod":  {"/etc/kubernetes/kubelet.conf.d/60-x.conf", "apiVersion: v1\nkind: Pod\n", []string{"is no kubelet.config.k8s.io/v1beta1"}},
		"kubelet drop-in unseen":    {"/etc/kubernetes/kubelet.conf.d/60-x.yaml", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n", []string{"does not end in .conf"}},
		"provider without images":   {"/etc/kubernetes/p.yaml", "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: a\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n", []string{"providers[0].matchImages"}},
		"anonymous health":          {"/etc/kubernetes/a.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n", nil},
		"anonymous relative":        {"/etc/kubernetes/a.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: livez}]}\n", []string{"anonymous.conditions[0].path", "begin it with /"}},
		"anonymous and disabled":    {"/etc/kubernetes/a.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: false, conditions: [{path: /livez}]}\n", []string{"unless anonymous.enabled is true"}},
		"authentication field":      {"/etc/kubernetes/a.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymus: {enabled: false}\n", []string{"line 3", "anonymus"}},
		"authentication version":    {"/etc/kubernetes/a.yaml", "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\n", []string{"AuthenticationConfiguration of apiserver.config.k8s.io/v1beta1 is not known"}},
		"audit level":               {"/etc/kubernetes/audit-policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Everything\n", []string{"rules[0].level", "Metadata"}},
		"audit field":               {"/etc/kubernetes/audit-policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n  verb: [get]\n", []string{"line 5", "verb"}},
		"audit without rules":       {"/etc/kubernetes/audit-policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []\n", []string{"rules is empty"}},
		"drop-in":                   {"/etc/systemd/system/x.service.d/10-a.conf", "[Service]\nExecStart=\nExecStart=/bin/true\n", nil},
		"drop-in of nothing":        {"/etc/systemd/system/x.service.d/10-a.conf", "# nothing\n", []string{"has no setting"}},
		"section of another kind":   {"/etc/systemd/system/x.timer", "[Timer]\nOnBootSec=1\n[Service]\nType=simple\n", []string{"line 3", "[Service] has no meaning in a timer"}},
		"extension":                 {"/etc/systemd/system/x.service", "[Unit]\nX-Ours=1\n[X-Theirs]\na=b\n[Service]\nExecStart=-/bin/true\n", nil},
		"directive that is none":    {"/etc/systemd/system/x.service", "[Service]\nexecstart=/bin/true\nExecStart=/bin/true\n", []string{"line 2", `"execstart" is no directive`}},
		"hosts.toml":                {"/etc/containerd/certs.d/a/hosts.toml", "server = \"x\"\nserver = \"y\"\n", []string{"line 2:1"}},
		"sysctls":                   {"/etc/sysctl.d/a.conf", "# x\n; y\n\n-net.ipv4.conf.*.rp_filter = 0\nnet/core/somaxconn=1\n", nil},
		"sysctl of one word":        {"/etc/sysctl.d/a.conf", "swappiness = 1\n", []string{"line 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var all []string
			for _, err := range checkFile(File{Path: test.path, Mode: 0o644, Content: test.text}) {
				all = append(all, err.Error())
			}
			text := strings.Join(all, "\n")
			if len(test.want) == 0 && text != "" {
				t.Errorf("refused: %s", text)
			}
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("lacks %q: %s", want, text)
				}
			}
		})
	}
}

func TestCheckPlan(t *testing.T) {
	p := &Plan{
		Dirs:   []Dir{{"/var/lib/etcd/main", 0o700}, {"rel", 0o755}},
		Files:  []File{{Path: "/a", Mode: 0o644}, {Path: "/a", Mode: 0o644}, {Path: "/b", Content: "x", From: "s3:x", Mode: 0}},
		Assets: []Asset{{Object: "o", Path: "/a/b"}, {Object: "t1", Path: "/t", Unpack: true}, {Object: "t2", Path: "/t", Unpack: true}},
		Etcd:   []Etcd{{Name: "main", DataDir: "/var/lib/etcd/main", ConfigPath: "/etc/etcd/main.yaml"}},
		Units:  []Unit{{Name: "x.service", State: Started}, {Name: "x.service", State: "running"}},
	}
	var text strings.Builder
	for _, err := range Check(p) {
		text.WriteString(err.Error() + "\n")
	}
	for _, want := range []string{
		"/a: is there twice, as file and as file", "/b: mode 0000", "/b: has content and a place", "/a/b: lies under /a",
		"asset t2: unpacks into /t like t1", "/var/lib/etcd/main: is there twice, as dir and as etcd data",
		`dir: "rel" is relative`, "unit x.service: is there twice", `state "running" is not known`,
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("lacks %q:\n%s", want, &text)
		}
	}
}
