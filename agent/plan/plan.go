// Package plan makes, from Config, Role and Facts, what the machine must look like. It is pure: no I/O, no clock, and a
// linter rule (depguard) keeps it so. A Plan is data: it prints as YAML, diffs, and is golden-tested.
//
// The fields of Plan are the boot sequence, in order; apply walks them from top to bottom.
package plan

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v4"

	"rekindle/agent/config"
)

// Plan is what the machine must look like.
type Plan struct {
	Cluster string `yaml:"cluster"`
	Role    string `yaml:"role"`
	Node    string `yaml:"node"` // the Kubernetes node name

	Dirs   []Dir   `yaml:"dirs,omitempty"`
	Assets []Asset `yaml:"assets,omitempty"` // fetched beside Etcd: both are bound by the network

	Authorities []Authority `yaml:"authorities,omitempty"`
	Certs       []Cert      `yaml:"certs,omitempty"` // issued beside Assets and Etcd

	Etcd  []Etcd `yaml:"etcd,omitempty"`
	Files []File `yaml:"files,omitempty"`
	Units []Unit `yaml:"units,omitempty"` // in the order in which they are started

	// Warnings are for the operator: the plan works, but something about it is not as they may think.
	Warnings []string `yaml:"warnings,omitempty"`
}

// Mode is a file mode that prints as octal text.
type Mode uint32

// MarshalYAML prints "0644".
func (m Mode) MarshalYAML() (any, error) { return fmt.Sprintf("%04o", uint32(m)), nil }

// UnmarshalYAML reads what MarshalYAML prints.
func (m *Mode) UnmarshalYAML(node *yaml.Node) (err error) {
	*m, err = ParseMode(node.Value)
	return err
}

// ParseMode reads "0644" or "644", at most 07777.
func ParseMode(text string) (Mode, error) {
	n, err := strconv.ParseUint(text, 8, 12)
	if err != nil {
		return 0, fmt.Errorf("mode %q: not octal between 0 and 7777", text)
	}
	return Mode(n), nil
}

// Dir is a directory.
type Dir struct {
	Path string `yaml:"path"`
	Mode Mode   `yaml:"mode"`
}

// Asset is an object of the store and where it lands.
type Asset struct {
	Object string `yaml:"object"`           // its path in the manifest
	SHA256 string `yaml:"sha256,omitempty"` // empty when the plan was made without a manifest
	Path   string `yaml:"path"`             // the file, or with Unpack the directory
	Mode   Mode   `yaml:"mode,omitempty"`
	Unpack bool   `yaml:"unpack,omitempty"` // tar, tar.gz or tar.zst
}

// Authority is what the node holds of one of the cluster's authorities (package pki names them).
type Authority struct {
	Name string `yaml:"name"`
	Path string `yaml:"path"`          // the certificates to trust, PEM; of service-account the public keys
	Key  string `yaml:"key,omitempty"` // the private key, on nodes that sign; empty on those that only trust
	// Signer receives the signing certificate alone, the first of those at Path: some programs refuse more than one, and
	// during a rotation there are two. Empty: nobody here needs it.
	Signer string `yaml:"signer,omitempty"`
}

// Cert is a certificate that the node holds. It is issued and renewed when the plan is applied, by package pki: no plan
// holds key bytes.
type Cert struct {
	// Path is the certificate, or with Kubeconfig a kubeconfig that embeds it.
	Path string `yaml:"path"`
	// Key is the path of the private key; empty when it lies in Path, too.
	Key           string   `yaml:"key,omitempty"`
	Authority     string   `yaml:"authority"`
	CommonName    string   `yaml:"commonName"`
	Organizations []string `yaml:"organizations,omitempty"`
	Names         []string `yaml:"names,omitempty"`      // subject alternative names: DNS names and IP addresses
	Usages        []string `yaml:"usages"`               // client, server
	Life          string   `yaml:"life"`                 // as Go writes durations, "720h0m0s"; renewed after two thirds of it
	Join          string   `yaml:"join,omitempty"`       // as which request a master is asked for it; empty: this node signs it
	Kubeconfig    string   `yaml:"kubeconfig,omitempty"` // the API server's URL: Path is a kubeconfig for it
}

// Etcd is one etcd cluster's member on this node. What to do with it (start, create, join, restore) is decided when
// the plan is applied, by package etcd, which then writes Config over Base.
type Etcd struct {
	Name       string `yaml:"name"`   // of the cluster: "main" or "events"
	Member     string `yaml:"member"` // proposed member name; one kept in the data directory wins
	DataDir    string `yaml:"dataDir"`
	ConfigPath string `yaml:"configPath"`
	Version    string `yaml:"version"`   // etcd's, without "v"
	PeerURL    string `yaml:"peerURL"`   // the proposed member's, as it is advertised
	ClientURL  string `yaml:"clientURL"` // the proposed member's, as it is advertised

	// Domain comes after a member's name in the URLs of every member of this cluster: PeerURLOf and ClientURLOf make
	// them. No DNS server knows it; the node's hosts file does.
	Domain     string `yaml:"domain"`
	Address    string `yaml:"address"` // this node's, which its member's name stands for
	Scheme     string `yaml:"scheme"`  // http or https
	ClientPort int    `yaml:"clientPort"`
	PeerPort   int    `yaml:"peerPort"`
	// ClientCert, ClientKey and TrustedCA are the paths with which the agent talks to the cluster; empty with http.
	ClientCert string `yaml:"clientCert,omitempty"`
	ClientKey  string `yaml:"clientKey,omitempty"`
	TrustedCA  string `yaml:"trustedCA,omitempty"`

	// Base is etcd's configuration file without what the decision adds: name, data-dir, initial-cluster* and the
	// advertised URLs.
	Base map[string]any `yaml:"base"`
	Unit string         `yaml:"unit,omitempty"` // the systemd unit that runs it; empty for a static pod
}

// File is a file with its content, or with the place to read it from when the plan is applied.
type File struct {
	Path    string     `yaml:"path"`
	Mode    Mode       `yaml:"mode"`
	Content string     `yaml:"content,omitempty"`
	From    config.Ref `yaml:"from,omitempty"`
	// Inputs are paths; their digest takes the place of InputsMark in Content. A static pod is so started again when
	// what it read only at its start changes.
	Inputs []string `yaml:"inputs,omitempty"`
	// Exclusive is the unit that restarts something when this file changes: while it runs, only one node of the
	// cluster at a time changes the file.
	Exclusive string `yaml:"exclusive,omitempty"`
}

// InputsMark stands in a file's content for the digest of its inputs.
const InputsMark = "@inputs@"

// The states that a unit can be asked for.
const (
	Started = "started" // enabled and running; a oneshot has run with its present inputs
	Enabled = "enabled" // started by systemd at boot; not touched now
	Stopped = "stopped" // neither enabled nor running
)

// Unit is a systemd unit and the state it must be in.
type Unit struct {
	Name  string `yaml:"name"`
	State string `yaml:"state"`
	// Enable makes systemd start it at boot, without the agent. Kubelet is not enabled: the agent starts it.
	Enable bool `yaml:"enable,omitempty"`
	// Inputs are the paths of files and assets; the unit restarts when their digest differs from the one recorded
	// after its last successful start.
	Inputs []string `yaml:"inputs,omitempty"`
	// Reload asks the unit to reload instead of restarting it.
	Reload bool `yaml:"reload,omitempty"`
	// Exclusive: only one node of the cluster at a time restarts it.
	Exclusive bool `yaml:"exclusive,omitempty"`
}
