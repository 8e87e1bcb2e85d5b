package bake

import "rekindle/agent/apply"

// rule is something that must not be in an image.
type rule struct {
	Paths []string // patterns as of path.Match, element by element; "**" is every file below, and no directory
	Skip  []string // what of it may be
	Why   string
	// Empty: the file stays, without content.
	Empty bool
	// Node: a node's own, which bake refuses to remove.
	Node bool
	// Booted: only where the image is not the running machine.
	Booted bool
	// Regular: only a regular file counts, not a link.
	Regular bool
}

// homes are where people and programs keep what is theirs.
var homes = []string{"/root", "/home/*"}

func inHomes(names ...string) (paths []string) {
	for _, home := range homes {
		for _, name := range names {
			paths = append(paths, home+"/"+name)
		}
	}
	return paths
}

// rules are looked at in this order.
var rules = []rule{
	{
		Paths: []string{"/var/lib/etcd/*", "/var/lib/etcd-events/*"}, Node: true,
		Why: "etcd's data: every instance would be the same member",
	}, {
		Paths: []string{"/etc/kubernetes/pki/*.key", "/etc/kubernetes/pki/*/*.key", "/var/lib/kubelet/pki/*", "/etc/kubernetes/*.conf",
			"/var/lib/rekindle/pki/*"}, Node: true,
		Why: "a node's keys: whoever may launch the image would have them",
	}, {
		// Empty and not "uninitialized": that makes the first boot apply presets, which on Debian enable every unit.
		Paths: []string{"/etc/machine-id"}, Empty: true,
		Why: "the machine's id: journals, leases and node names would collide",
	}, {
		Paths: []string{"/var/lib/dbus/machine-id"}, Regular: true,
		Why: "a copy of the machine's id",
	}, {
		Paths: []string{"/etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_*_key.pub"},
		Why:   "SSH host keys: each instance could pose as every other",
	}, {
		Paths: []string{"/var/lib/cloud/*", "/etc/netplan/50-cloud-init.yaml", "/etc/network/interfaces.d/50-cloud-init",
			"/etc/systemd/network/10-cloud-init-*", "/etc/NetworkManager/system-connections/cloud-init-*",
			"/etc/sudoers.d/90-cloud-init-users"},
		Why: "cloud-init's state: it would take the instance for the one that was baked",
	}, {
		Paths: append(inHomes(".aws", ".docker", ".kube", ".netrc", ".git-credentials", ".config/gh", ".config/gcloud", ".gnupg",
			".ssh/id_*", ".ssh/known_hosts", ".minisign"), "/var/lib/kubelet/config.json"),
		Why: "credentials",
	}, {
		Paths: inHomes(".ssh/authorized_keys", ".ssh/authorized_keys2"),
		Why:   "keys that open every instance",
	}, {
		Paths: inHomes(".*_history", ".lesshst", ".viminfo", ".wget-hsts"),
		Why:   "what was typed while baking",
	}, {
		Paths: []string{"/var/lib/rekindle/*"}, Skip: []string{"/var/lib/rekindle/cache", imagesDir, apply.RecordPath, "/var/lib/rekindle/pki"},
		Why: "the agent's state of another boot",
	}, {
		Paths: []string{"/var/lib/amazon/ssm/*"},
		Why:   "the registration of another instance",
	}, {
		Paths: []string{"/var/lib/systemd/random-seed", "/boot/efi/loader/random-seed", "/var/lib/systemd/credential.secret",
			"/var/lib/urandom/random-seed"},
		Why: "a seed or secret that every instance would begin with",
	}, {
		Paths: []string{"/var/lib/dhcp/*", "/var/lib/dhclient/*", "/var/lib/dhcpcd/*", "/var/lib/NetworkManager/*.lease",
			"/var/lib/NetworkManager/secret_key"},
		Why: "DHCP leases and keys of another instance",
	}, {
		Paths: []string{"/var/log/journal/*", "/var/log/**", "/var/crash/*", "/var/lib/systemd/coredump/*", "/var/lib/systemd/pstore/*"},
		Why:   "logs of another machine",
	}, {
		Paths: []string{"/var/cache/apt/archives/*.deb", "/var/cache/apt/archives/partial/*", "/var/cache/apt/*.bin", "/var/lib/apt/lists/*",
			"/var/cache/dnf/*", "/var/cache/yum/*", "/var/lib/dnf/history.*", "/var/cache/debconf/*-old", "/var/lib/dpkg/*-old",
			"/var/cache/ldconfig/aux-cache", "/etc/*-"},
		Why: "caches that no instance needs",
	}, {
		Paths: []string{"/run/*"}, Booted: true,
		Why: "what was running while baking",
	}, {
		Paths: []string{"/tmp/*", "/var/tmp/*"},
		Why:   "temporary files",
	},
}
