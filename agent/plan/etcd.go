package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"rekindle/roles"
)

// ports of an etcd cluster: clients, peers, metrics and health. docs/roles.md lists them.
type ports struct{ client, peer, metrics int }

// etcdPKI is where the role of a node with members keeps what etcd and its clients identify themselves with.
const etcdPKI = "/etc/kubernetes/pki/etcd/"

// progressInterval is five seconds, in the nanoseconds of etcd's file.
const progressInterval = 5_000_000_000

var etcdPorts = map[string]ports{
	"main":   {2379, 2380, 2391},
	"events": {2381, 2382, 2392},
}

// etcdData derives what this node has to do with etcd.
func (m *maker) etcdData() (EtcdData, []error) {
	c, n := m.config.Etcd, m.data.Node
	e := EtcdData{RunAs: c.RunAs, Version: strings.TrimPrefix(c.Version, "v"), Image: c.Image, Plaintext: c.Plaintext}
	var errs []error
	local, err := m.render.when("role "+m.in.Role.Name+": etcd", m.in.Role.Etcd)
	e.Local = local && m.in.Role.Etcd != ""
	if err != nil {
		errs = append(errs, err)
	}
	if e.Image == "" {
		e.Image = m.config.Kubernetes.ImageRepository + "/etcd:" + e.Version + "-0"
	}
	// A dedicated etcd node has no kubelet that could run a pod.
	if !slices.ContainsFunc(m.in.Role.Units, func(u roles.Unit) bool { return u.Name == "kubelet.service" }) {
		e.RunAs = "unit"
	}
	e.ServerNames = etcdNames(m.config, n, m.in.Facts.Instance)
	e.Servers = slices.Clone(c.Endpoints)
	if slices.Contains(c.Clusters, "events") {
		for _, endpoint := range c.Endpoints {
			e.EventServers = append(e.EventServers, withPort(endpoint, etcdPorts["events"].client))
		}
	}
	if !e.Local {
		return e, errs
	}
	if _, err := version.ParseSemantic(e.Version); err != nil {
		errs = append(errs, problem("etcd.version", "%q is no version: write it like 3.6.16", c.Version))
	}
	for _, name := range c.Clusters {
		p, ok := etcdPorts[name]
		if !ok {
			errs = append(errs, problem("etcd.clusters", "%q is not known: use main and events", name))
			continue
		}
		host := "127.0.0.1"
		if n.Loopback {
			host = n.IP
		}
		e.Clusters = append(e.Clusters, EtcdCluster{
			Name: name, DataDir: "/var/lib/etcd/" + name, ConfigPath: "/etc/etcd/" + name + ".yaml",
			ClientPort: p.client, PeerPort: p.peer, MetricsPort: p.metrics, MetricsHost: host,
		})
		if len(c.Endpoints) > 0 {
			continue
		}
		server := e.url(host, p.client)
		if name == "events" {
			e.EventServers = []string{server}
		} else {
			e.Servers = []string{server}
		}
	}
	return e, errs
}

func (e EtcdData) url(host string, port int) string { return e.scheme() + "://" + hostPort(host, port) }

func (e EtcdData) scheme() string {
	if e.Plaintext {
		return "http"
	}
	return "https"
}

// withPort is a URL with another port: the events cluster lives beside the main one.
func withPort(endpoint string, port int) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	u.Host = hostPort(u.Hostname(), port)
	return u.String()
}

// etcd plans the members that this node carries.
func (m *maker) etcd() {
	e := &m.data.Etcd
	for i, cluster := range e.Clusters {
		base, errs := m.etcdBase(cluster)
		m.fail(errs...)
		e.Clusters[i].Digest = digestOf(base)
		member := Etcd{
			Name: cluster.Name, Member: m.in.Facts.Instance.ID, DataDir: cluster.DataDir, ConfigPath: cluster.ConfigPath,
			Version: e.Version, Base: base,
			// Names, not addresses: a volume that returns on another instance is the same member.
			Domain: etcdDomain(cluster.Name, m.data.Cluster), Address: m.data.Node.IP,
			Scheme: e.scheme(), ClientPort: cluster.ClientPort, PeerPort: cluster.PeerPort,
		}
		member.PeerURL, member.ClientURL = member.PeerURLOf(member.Member), member.ClientURLOf(member.Member)
		if !e.Plaintext {
			member.ClientCert, member.ClientKey = etcdPKI+"healthcheck-client.crt", etcdPKI+"healthcheck-client.key"
			member.TrustedCA = etcdPKI + "ca.crt"
		}
		if e.RunAs == "unit" {
			member.Unit = "etcd-" + cluster.Name + ".service"
		}
		m.plan.Etcd = append(m.plan.Etcd, member)
	}
}

// etcdBase is etcd's configuration file as far as it follows from configuration and facts.
func (m *maker) etcdBase(c EtcdCluster) (map[string]any, []error) {
	e, n := m.data.Etcd, m.data.Node
	clients, peers := []string{e.url(n.IP, c.ClientPort)}, []string{e.url(n.IP, c.PeerPort)}
	if !n.Loopback {
		clients = append(clients, e.url("127.0.0.1", c.ClientPort))
	}
	base := map[string]any{
		"listen-client-urls":  strings.Join(clients, ","),
		"listen-peer-urls":    strings.Join(peers, ","),
		"listen-metrics-urls": "http://" + hostPort(c.MetricsHost, c.MetricsPort),
		"logger":              "zap",
		"log-level":           "info",
	}
	if q := m.config.Etcd.QuotaBytes; q > 0 {
		base["quota-backend-bytes"] = int(q)
	}
	// Kubernetes reads consistently from its watch cache only when etcd tells it often how far the watch is. Up to 3.5
	// these were experimental; 3.7 no longer knows the old names. Durations are nanoseconds in this file.
	if v, err := version.ParseSemantic(e.Version); err == nil && v.LessThan(version.MustParseSemantic("3.6.0")) {
		base["experimental-initial-corrupt-check"] = true
		base["experimental-watch-progress-notify-interval"] = progressInterval
	} else {
		base["feature-gates"] = "InitialCorruptCheck=true"
		base["watch-progress-notify-interval"] = progressInterval
	}
	if !e.Plaintext {
		base["tls-min-version"] = "TLS1.2"
		for section, cert := range map[string]string{"client-transport-security": "server", "peer-transport-security": "peer"} {
			base[section] = map[string]any{
				"cert-file":        etcdPKI + cert + ".crt",
				"key-file":         etcdPKI + cert + ".key",
				"trusted-ca-file":  etcdPKI + "ca.crt",
				"client-cert-auth": true,
			}
		}
	}
	var errs []error
	for _, name := range keys(m.config.Etcd.ExtraArgs) {
		errs = append(errs, extraEtcd(base, name, m.config.Etcd.ExtraArgs[name]))
	}
	return base, errs
}

// decided are the fields that package etcd writes when the plan is applied.
var decided = []string{"name", "data-dir", "wal-dir", "initial-cluster", "initial-cluster-state", "initial-cluster-token",
	"initial-advertise-peer-urls", "advertise-client-urls", "strict-reconfig-check", "force-new-cluster", "config-file"}

// secured are flags that lie in a section of the file.
var secured = []string{"cert-file", "key-file", "client-cert-file", "client-key-file", "client-cert-auth", "trusted-ca-file",
	"auto-tls", "allowed-cn", "allowed-hostname", "skip-client-san-verification"}

// durations are given in nanoseconds in etcd's file, while the flag takes "5s" (time.Duration in etcd's embed.Config).
var durations = []string{"backend-batch-interval", "grpc-keepalive-min-time", "grpc-keepalive-interval",
	"grpc-keepalive-timeout", "corrupt-check-time", "compact-hash-check-time", "compaction-sleep-interval",
	"watch-progress-notify-interval", "warning-apply-duration", "warning-unary-request-duration", "downgrade-check-time"}

// lists are sequences in the file.
var lists = []string{"cipher-suites", "allowed-cn", "allowed-hostname"}

// extraEtcd puts one of the operator's flags into the file: etcd ignores flags beside --config-file.
func extraEtcd(base map[string]any, name string, text *string) error {
	where := "etcd.extraArgs." + name
	if slices.Contains(decided, name) {
		return problem(where, "the agent decides it when the member starts: remove it")
	}
	section, key := base, name
	for prefix, in := range map[string]string{"peer-": "peer-transport-security", "": "client-transport-security"} {
		if short, ok := strings.CutPrefix(name, prefix); ok && slices.Contains(secured, short) {
			if section, ok = base[in].(map[string]any); !ok {
				section = map[string]any{}
				base[in] = section
			}
			key = short
			break
		}
	}
	if text == nil {
		delete(section, key)
		return nil
	}
	switch plain := strings.TrimPrefix(name, "experimental-"); {
	case slices.Contains(durations, plain):
		var d metav1.Duration
		if err := d.UnmarshalJSON([]byte(strconv.Quote(*text))); err != nil {
			return problem(where, "%q is no duration: write it like 5s", *text)
		}
		section[key] = int(d.Nanoseconds())
	case slices.Contains(lists, key):
		section[key] = strings.Split(*text, ",")
	default:
		section[key] = scalar(*text)
	}
	return nil
}

// scalar reads a flag's value as the file's type wants it.
func scalar(text string) any {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	if b, err := strconv.ParseBool(text); err == nil && len(text) > 1 {
		return b
	}
	return text
}

// digestOf identifies a configuration. YAML writes maps in the order of their keys.
func digestOf(v any) string {
	text, err := yaml.Dump(v)
	if err != nil {
		panic(fmt.Sprintf("plan: %v", err)) // only maps of scalars come here
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
