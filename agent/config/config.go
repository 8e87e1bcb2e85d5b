// Package config turns user-data and the other layers into one Config: what the operator asked for.
//
// Layers, each over the one before: built-in defaults, /etc/rekindle/*.yaml (AMI), the store's cluster.yaml, user-data,
// and the role that the instance's tags name. Decoding is strict and reports every mistake at once.
//
// A Config holds references to secrets (Ref), never secrets; secret_test.go enforces it.
//
// To accept a new field: add it to a struct here with its comment, its default to default.go, its limits to the file
// that validates its section (network.go, node.go, etcd.go, ...; validate.go calls them), its row to docs/config.md (a
// test compares), and a case to testdata.
package config

import "time"

// Config is what the operator asked for. The zero value is not valid: see Default.
type Config struct {
	// Cluster is the cluster's name: a DNS label, or labels joined by dots. Tags may give it.
	Cluster string `yaml:"cluster,omitempty"`
	// Environment is free text, exported to units and templates as ENVIRONMENT.
	Environment string `yaml:"environment,omitempty"`
	// Role names a built-in or store role. Usually the instance's tags give it; tags win over this field.
	Role string `yaml:"role,omitempty"`

	// Store is the cluster's S3 prefix ("s3://bucket/prefix") or a directory ("dir:///path").
	Store string `yaml:"store,omitempty"`
	// Mirrors are other places with the store's objects, tried in order before the store: s3://, https://, dir://.
	Mirrors []string `yaml:"mirrors,omitempty"`
	Assets  Assets   `yaml:"assets,omitempty"`
	AWS     AWS      `yaml:"aws,omitempty"`

	Kubernetes Kubernetes `yaml:"kubernetes,omitempty"`
	Node       Node       `yaml:"node,omitempty"`
	Kubelet    Kubelet    `yaml:"kubelet,omitempty"`
	Containerd Containerd `yaml:"containerd,omitempty"`
	Etcd       Etcd       `yaml:"etcd,omitempty"`
	Discovery  Discovery  `yaml:"discovery,omitempty"`
	APIProxy   APIProxy   `yaml:"apiProxy,omitempty"`
	PKI        PKI        `yaml:"pki,omitempty"`
	Join       Join       `yaml:"join,omitempty"`
	Metrics    Metrics    `yaml:"metrics,omitempty"`

	// Env adds names to /etc/rekindle/env and to `{{ .Env.NAME }}` in templates.
	Env map[string]string `yaml:"env,omitempty"`
	// Files are written after the role's own and replace those of the same path.
	Files []File `yaml:"files,omitempty"`
	// Patches change objects that the role renders, by path.
	Patches []Patch `yaml:"patches,omitempty"`
	// StaticPods are extra manifests for the kubelet, by file name without ".yaml"; the value is the pod.
	StaticPods map[string]map[string]any `yaml:"staticPods,omitempty"`
	Units      []Unit                    `yaml:"units,omitempty"`
	Sysctls    map[string]string         `yaml:"sysctls,omitempty"`
	// Modules are kernel modules loaded at boot, besides the role's.
	Modules []string `yaml:"modules,omitempty"`

	Timeouts Timeouts `yaml:"timeouts,omitempty"`
}

// Ref points to a secret or a file that the agent reads when it applies the plan: "s3:path/in/store",
// "s3://bucket/key", "ssm:/parameter" or "file:/path".
type Ref string

// Assets says how objects are fetched and verified.
type Assets struct {
	// PublicKey is the minisign public key ("RW...") that must have signed the manifest. Empty: no signature needed.
	PublicKey string `yaml:"publicKey,omitempty"`
	// Unverified accepts a store prefix without a manifest. `status` then says so.
	Unverified bool `yaml:"unverified,omitempty"`
	// Parallel is how many requests run at once (1 to 64).
	Parallel int `yaml:"parallel,omitempty"`
	// ReadTimeout is how long a connection may deliver nothing before it is abandoned.
	ReadTimeout time.Duration `yaml:"readTimeout,omitempty"`
}

// AWS changes what is otherwise learned from IMDS.
type AWS struct {
	// Region is the store's bucket's, when that is not the node's own.
	Region string `yaml:"region,omitempty"`
	// Endpoints replace a service's URL, by service name: s3, ec2, autoscaling, sts, ssm, kms, route53, imds.
	Endpoints map[string]string `yaml:"endpoints,omitempty"`
	// PathStyle addresses S3 buckets by path (S3-compatible stores).
	PathStyle bool `yaml:"pathStyle,omitempty"`
}

// Kubernetes is what all nodes of the cluster share.
type Kubernetes struct {
	// Version is the Kubernetes version, "1.37.2"; minors 1.34 to 1.37 are known (oldestMinor, newestMinor).
	Version string `yaml:"version,omitempty"`
	// APIEndpoint is the API server's URL as nodes use it. Default: https://api.internal.<cluster>:6443.
	APIEndpoint string `yaml:"apiEndpoint,omitempty"`
	// ServiceCIDRs and PodCIDRs: one network, or one of each IP family. Load fills in those of node.ipFamily.
	ServiceCIDRs []string `yaml:"serviceCIDRs,omitempty"`
	PodCIDRs     []string `yaml:"podCIDRs,omitempty"`
	// ClusterDNS defaults to the tenth address of each service network.
	ClusterDNS    []string `yaml:"clusterDNS,omitempty"`
	ClusterDomain string   `yaml:"clusterDomain,omitempty"`
	// ImageRepository is where the control plane's images come from.
	ImageRepository string          `yaml:"imageRepository,omitempty"`
	FeatureGates    map[string]bool `yaml:"featureGates,omitempty"`

	APIServer         Component `yaml:"apiServer,omitempty"`
	ControllerManager Component `yaml:"controllerManager,omitempty"`
	Scheduler         Component `yaml:"scheduler,omitempty"`
	Proxy             Component `yaml:"proxy,omitempty"`
}

// Component is a static pod of the control plane, or kube-proxy.
type Component struct {
	// Disabled leaves the component out (for instance kube-proxy beside Cilium).
	Disabled bool `yaml:"disabled,omitempty"`
	// Image replaces the image made from ImageRepository and Version.
	Image string `yaml:"image,omitempty"`
	// ExtraArgs adds flags without their dashes; an empty string value is passed as "--name=", null removes a default.
	ExtraArgs map[string]*string `yaml:"extraArgs,omitempty"`
}

// Node is how this node presents itself to Kubernetes.
type Node struct {
	// Name is "instance-id" or "private-dns-name".
	Name string `yaml:"name,omitempty"`
	// IPFamily is "ipv4", "ipv6" or "dual".
	IPFamily string            `yaml:"ipFamily,omitempty"`
	Labels   map[string]string `yaml:"labels,omitempty"`
	Taints   []Taint           `yaml:"taints,omitempty"`
	// MaxPods replaces the number made from the instance type's ENI limits (1 to 1000).
	MaxPods int `yaml:"maxPods,omitempty"`
	// ENIPods makes max pods from the ENI limits (Amazon VPC CNI). Without it the default is 110.
	ENIPods bool `yaml:"eniPods,omitempty"`
}

// Taint is registered by the kubelet with the node.
type Taint struct {
	Key    string `yaml:"key"`
	Value  string `yaml:"value,omitempty"`
	Effect string `yaml:"effect"`
}

// Kubelet changes the kubelet.
type Kubelet struct {
	ExtraArgs map[string]*string `yaml:"extraArgs,omitempty"`
	// Config is a fragment of KubeletConfiguration; it becomes a drop-in that the kubelet merges last.
	Config map[string]any `yaml:"config,omitempty"`
}

// Containerd changes containerd.
type Containerd struct {
	// SandboxImage is pinned in containerd and never garbage-collected. Load makes it from kubernetes.imageRepository.
	SandboxImage string `yaml:"sandboxImage,omitempty"`
	// Registries are written as certs.d/<host>/hosts.toml.
	Registries []Registry `yaml:"registries,omitempty"`
	// Config is TOML merged over the role's config.toml.
	Config string `yaml:"config,omitempty"`
}

// Registry sends pulls from one registry host to mirrors.
type Registry struct {
	// Host is the registry's name in image references, "registry.k8s.io", or "_default" for all others.
	Host    string   `yaml:"host"`
	Server  string   `yaml:"server,omitempty"`
	Mirrors []Mirror `yaml:"mirrors,omitempty"`
}

// Mirror is one place to pull from.
type Mirror struct {
	URL          string `yaml:"url"`
	OverridePath bool   `yaml:"overridePath,omitempty"`
	SkipVerify   bool   `yaml:"skipVerify,omitempty"`
	CA           string `yaml:"ca,omitempty"` // path of a CA bundle on the node
}

// Etcd describes the etcd clusters that a master (or a dedicated etcd node) carries.
type Etcd struct {
	// Clusters are "main" and, when events have a cluster of their own, "events".
	Clusters []string `yaml:"clusters,omitempty"`
	// Version is the etcd version, "3.6.16".
	Version string `yaml:"version,omitempty"`
	// RunAs is "pod" (static pod) or "unit" (systemd unit).
	RunAs string `yaml:"runAs,omitempty"`
	// Endpoints are client URLs of etcd on dedicated nodes. Empty: etcd runs on the masters.
	Endpoints []string `yaml:"endpoints,omitempty"`
	Image     string   `yaml:"image,omitempty"`
	// Plaintext serves etcd without TLS, only for laboratories on loopback.
	Plaintext bool               `yaml:"plaintext,omitempty"`
	ExtraArgs map[string]*string `yaml:"extraArgs,omitempty"`
	// QuotaBytes is --quota-backend-bytes (64 MiB to 64 GiB; default 8 GiB).
	QuotaBytes int64      `yaml:"quotaBytes,omitempty"`
	Backup     EtcdBackup `yaml:"backup,omitempty"`
}

// EtcdBackup says how etcd is backed up into the store.
type EtcdBackup struct {
	// Disabled takes no backups. What is there can still be restored.
	Disabled bool `yaml:"disabled,omitempty"`
	// Interval is the time between two full backups (1m to 24h).
	Interval time.Duration `yaml:"interval,omitempty"`
	// Deltas is how often what was written since is stored (1s to 10m).
	Deltas time.Duration `yaml:"deltas,omitempty"`
	// NoDeltas stores full backups only.
	NoDeltas bool `yaml:"noDeltas,omitempty"`
	// Drill is how often a restore is tried (1h to 720h).
	Drill time.Duration `yaml:"drill,omitempty"`
	// Keep is how long backups stay.
	Keep EtcdKeep `yaml:"keep,omitempty"`
	// SpoolDir is where a snapshot lies while it is uploaded; it needs as much room as etcd's database has.
	SpoolDir string `yaml:"spoolDir,omitempty"`
}

// EtcdKeep is how long backups stay: all of them, the last one of every hour, the last one of every day.
type EtcdKeep struct {
	All    time.Duration `yaml:"all,omitempty"`
	Hourly time.Duration `yaml:"hourly,omitempty"`
	Daily  time.Duration `yaml:"daily,omitempty"`
}

// Discovery is how nodes find each other.
type Discovery struct {
	// Mode is "auto" (gossip, and Route 53 as well where its zone answers), "gossip" (without Route 53) or "route53"
	// (without gossip: masters are found by seeds and DNS).
	Mode string `yaml:"mode,omitempty"`
	// ZoneID is the Route 53 private zone, exported as ZONE_ID; ZoneName is its name, for who does not know the id. Without
	// both, the longest private zone is taken that holds the cluster's names.
	ZoneID   string `yaml:"zoneID,omitempty"`
	ZoneName string `yaml:"zoneName,omitempty"`
	// Masters are static addresses of masters, for networks without any other way.
	Masters []string `yaml:"masters,omitempty"`
	Gossip  Gossip   `yaml:"gossip,omitempty"`
}

// Gossip is the membership that nodes keep among themselves.
type Gossip struct {
	// Port is where every node listens, for UDP and TCP.
	Port int `yaml:"port,omitempty"`
	// Members are "all" nodes, or the "masters" alone.
	Members string `yaml:"members,omitempty"`
	// Keyring holds the keys. Empty: discovery/keyring.json in the store, which the first master makes.
	Keyring Ref `yaml:"keyring,omitempty"`
}

// APIProxy is a node's own way to the API servers.
type APIProxy struct {
	// Mode is "auto" (on nodes without an API server whose kubernetes.apiEndpoint is the cluster's own name) or "off".
	Mode string `yaml:"mode,omitempty"`
}

// PKI says where the cluster's authorities come from, and what they sign.
type PKI struct {
	// KMSKey encrypts the authorities' private keys in the store (SSE-KMS): a key's ARN or id, or an alias. Empty: the
	// bucket's own default encryption.
	KMSKey string `yaml:"kmsKey,omitempty"`
	// Seal encrypts them before they leave the node as well, under a data key that KMS wraps. It needs KMSKey.
	Seal bool `yaml:"seal,omitempty"`
	// KeyAlgorithm is that of new keys, as kubeadm names them: ECDSA-P256, ECDSA-P384, RSA-2048, RSA-3072 or RSA-4096.
	KeyAlgorithm string `yaml:"keyAlgorithm,omitempty"`
	// Life is how long a component's certificate is valid (1h to 8760h); it is renewed after two thirds of it.
	Life time.Duration `yaml:"life,omitempty"`
	// AuthorityLife is how long an authority is valid that the agent makes (8760h to 262800h).
	AuthorityLife time.Duration `yaml:"authorityLife,omitempty"`
	// Names are further DNS names and IP addresses of the API server, such as a load balancer's.
	Names []string `yaml:"names,omitempty"`
	// Authorities are brought by the operator instead of lying in the store, by name: kubernetes, etcd, front-proxy,
	// service-account.
	Authorities map[string]AuthorityRefs `yaml:"authorities,omitempty"`
}

// AuthorityRefs point to an authority that the operator keeps elsewhere.
type AuthorityRefs struct {
	// Certificate is PEM, the one that signs first; further ones are trusted. service-account has none.
	Certificate Ref `yaml:"certificate,omitempty"`
	// Key is the private key, PEM. It is read on masters only.
	Key Ref `yaml:"key,omitempty"`
}

// Join says which instances get certificates from the masters, and where.
type Join struct {
	// Port is where masters listen.
	Port int `yaml:"port,omitempty"`
	// IAMRoles are the names or ARNs of the IAM roles whose instances may join. Empty: nobody may.
	IAMRoles []string `yaml:"iamRoles,omitempty"`
	// Roles are the roles, by tag, whose instances may join.
	Roles []string `yaml:"roles,omitempty"`
}

// Metrics says where the agent serves metrics.
type Metrics struct {
	// Listen is "address:port"; "off" serves none.
	Listen string `yaml:"listen,omitempty"`
}

// File is a file of the operator's own. Exactly one of Content and From is set.
type File struct {
	Path string `yaml:"path"`
	// Mode is octal text, "0644".
	Mode    string `yaml:"mode,omitempty"`
	Content string `yaml:"content,omitempty"`
	// Template renders Content with text/template, as role files are.
	Template bool `yaml:"template,omitempty"`
	// From reads the content when the plan is applied, so a secret never enters the plan.
	From Ref `yaml:"from,omitempty"`
}

// Patch is a JSON merge patch (RFC 7386, a mapping) or a JSON patch (RFC 6902, a list) for a rendered YAML file.
type Patch struct {
	Path  string `yaml:"path"`
	Patch any    `yaml:"patch"`
}

// Unit is an extra systemd unit.
type Unit struct {
	Name    string `yaml:"name"`
	Content string `yaml:"content,omitempty"` // empty: the unit exists in the image
	// Drop-ins, by file name, "10-limits.conf".
	DropIns map[string]string `yaml:"dropIns,omitempty"`
	// State is "started" (default), "enabled" or "stopped".
	State string `yaml:"state,omitempty"`
}

// Timeouts bound the waits of a boot.
type Timeouts struct {
	// Metadata is how long IMDS may take to answer at boot.
	Metadata time.Duration `yaml:"metadata,omitempty"`
	// Role is how long the role's tag may lag the launch.
	Role time.Duration `yaml:"role,omitempty"`
	// Network is how long link, address and default route may take.
	Network time.Duration `yaml:"network,omitempty"`
	// Assets bounds the fetch of everything the role needs.
	Assets time.Duration `yaml:"assets,omitempty"`
	// Etcd bounds the etcd step.
	Etcd time.Duration `yaml:"etcd,omitempty"`
	// Join bounds the wait for a master that signs the node's certificates.
	Join time.Duration `yaml:"join,omitempty"`
	// Turn bounds the wait for the cluster's other masters before something is restarted that they depend on.
	Turn time.Duration `yaml:"turn,omitempty"`
	// Unit bounds the start of one unit.
	Unit time.Duration `yaml:"unit,omitempty"`
	// Resync is how often the daemon gathers and applies again.
	Resync time.Duration `yaml:"resync,omitempty"`
}
