package plan

import (
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// environment is what /etc/rekindle/env exports. The upper names are those that boot scripts in the field have relied
// on; a name that has no value on this node is there and empty, so that a script under `set -u` can ask.
func environment(d *Data) (map[string]string, []error) {
	i := d.Instance
	env := map[string]string{
		"MASTER_IP":          masterIP(d),
		"PRIVATE_IP":         addr(i.PrivateIPv4),
		"PUBLIC_IP":          addr(i.PublicIPv4),
		"INSTANCE_ID":        i.ID,
		"AVAIL_ZONE":         i.Zone,
		"REGION":             i.Region,
		"API_ENDPOINT":       d.Kubernetes.APIEndpoint,
		"ENVIRONMENT":        d.Config.Environment,
		"KUBERNETES_VERSION": d.Kubernetes.Version,
		"ZONE_ID":            d.Config.Discovery.ZoneID,

		"ETCD_VERSION":          d.Etcd.Version,
		"ETCD_CLUSTERS":         strings.Join(d.Config.Etcd.Clusters, ","),
		"ETCD_ENDPOINTS":        strings.Join(d.Etcd.Servers, ","),
		"ETCD_EVENTS_ENDPOINTS": strings.Join(d.Etcd.EventServers, ","),

		"CLUSTER":    d.Cluster,
		"ROLE":       d.Role,
		"NODE_NAME":  d.Node.Name,
		"NODE_IP":    d.Node.IP,
		"PARTITION":  i.Partition,
		"DNS_SUFFIX": i.DNSSuffix,
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(d.Config.Env)) {
		value := d.Config.Env[name]
		switch {
		case !envName.MatchString(name):
			errs = append(errs, problem("env."+name, "a shell has no such name: use letters, digits and underscores"))
		case strings.ContainsRune(value, 0):
			errs = append(errs, problem("env."+name, "the value has a zero byte"))
		default:
			env[name] = value
		}
	}
	return env, errs
}

// masterIP is an address at which a master answers, as far as this node knows without asking: its own on a master,
// else a configured one.
func masterIP(d *Data) string {
	if d.controlPlane {
		return d.Node.IP
	}
	candidates := slices.Clone(d.Config.Discovery.Masters)
	if u, err := url.Parse(d.Kubernetes.APIEndpoint); err == nil {
		candidates = append(candidates, u.Hostname())
	}
	for _, c := range candidates {
		if a, err := netip.ParseAddr(c); err == nil {
			return a.String()
		}
		if a, err := netip.ParseAddrPort(c); err == nil {
			return a.Addr().String()
		}
	}
	return ""
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

var (
	envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	envBare = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]*$`)
)

// envQuote writes a value so that a shell and systemd's EnvironmentFile= read the same. Within double quotes both
// let a backslash escape exactly these four characters (systemd.exec(5), POSIX shell 2.2.3).
func envQuote(value string) string {
	if envBare.MatchString(value) {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(value) + `"`
}
