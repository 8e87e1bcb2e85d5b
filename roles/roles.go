// Package roles holds what each role is: its assets, directories, files and units. Built-in roles are embedded;
// an overlay from the store replaces or adds to them, by path.
//
// To add a role: roles/<name>/role.yaml, its templates under roles/<name>/rootfs at the path where they land, and one
// golden case in agent/plan/testdata.
package roles

import "io/fs"

// Role is a loaded role. Its texts are templates; agent/plan renders them.
type Role struct {
	Name        string
	Description string
	// Extends are all the roles that this one was built on, the most basic first.
	Extends []string
	// Etcd is a template; the node carries members of the configured etcd clusters if it renders "true".
	Etcd string
	// Labels and Taints are registered by the kubelet; the configuration's lie over them.
	Labels map[string]string
	Taints []Taint
	Dirs   []Dir
	Assets []Asset
	Files  []File
	// Partials are templates that the others can include, from <role>/partials/*.tmpl.
	Partials []File
	// Authorities are what the node holds of the cluster's authorities, and Certs the certificates that it needs.
	Authorities []Authority
	Certs       []Cert
	Units       []Unit // in the order in which they are started
	// Digest identifies the exact role: sha256 over all that was loaded.
	Digest string
}

// Taint is registered by the kubelet with the node.
type Taint struct {
	Key    string `yaml:"key"`
	Value  string `yaml:"value,omitempty"`
	Effect string `yaml:"effect"`
}

// Dir is a directory of a role.
type Dir struct {
	Path string `yaml:"path"`
	Mode string `yaml:"mode,omitempty"` // default 0755
	When string `yaml:"when,omitempty"` // a template; the entry counts only if it renders "true"
}

// Asset is an object of the store.
type Asset struct {
	// Name tells assets apart that unpack into one directory; it defaults to Path.
	Name string `yaml:"name,omitempty"`
	// Object is a template. With a "*" in its last element it stands for all objects of the manifest that match, and
	// Path is the directory that receives them.
	Object string `yaml:"object"`
	Path   string `yaml:"path"`
	Mode   string `yaml:"mode,omitempty"` // default 0755 for files
	Unpack bool   `yaml:"unpack,omitempty"`
	// Optional leaves the asset out when the manifest does not list it.
	Optional bool   `yaml:"optional,omitempty"`
	When     string `yaml:"when,omitempty"`
}

// Key is what an overlay names the asset by.
func (a Asset) Key() string {
	if a.Name != "" {
		return a.Name
	}
	return a.Path
}

// The syntaxes of a file.
const (
	Template = "template" // text/template, the default for a file whose name ends in .tmpl
	Percent  = "percent"  // %%NAME%%, the older form
	Plain    = "plain"    // copied as it is, the default for any other file
)

// File is a template and its attributes.
type File struct {
	Path   string `yaml:"path"`
	Mode   string `yaml:"mode,omitempty"` // default 0644
	Syntax string `yaml:"syntax,omitempty"`
	When   string `yaml:"when,omitempty"`
	// Inputs are templates of globs over the paths of the plan's files, assets, authorities and certificates; the digest of
	// what they match takes the place of "@inputs@" in the text.
	Inputs []string `yaml:"inputs,omitempty"`
	// Exclusive is the unit that restarts something when the file changes: while it runs, one node at a time changes it.
	Exclusive string `yaml:"exclusive,omitempty"`
	Text      string `yaml:"-"`
	// Source is where the text was read: "roles/master/rootfs/..." or "overlay/master/rootfs/...", for messages.
	Source string `yaml:"-"`
}

// Authority is one of the cluster's authorities: kubernetes, etcd, front-proxy or service-account.
type Authority struct {
	Name string `yaml:"name"`
	Path string `yaml:"path"`          // the certificates to trust; of service-account the public keys
	Key  string `yaml:"key,omitempty"` // the private key, on nodes that sign
	// Signer receives the certificate that belongs to the key alone, for programs that take no bundle.
	Signer string `yaml:"signer,omitempty"`
	When   string `yaml:"when,omitempty"`
}

// Cert is a certificate with its key. All texts but the paths are templates. Where the role holds the authority's key
// the node signs it itself; elsewhere it asks a master, as the request that Join names.
type Cert struct {
	Path          string   `yaml:"path"`
	Key           string   `yaml:"key,omitempty"` // empty: in Path, too
	Authority     string   `yaml:"authority"`
	CommonName    string   `yaml:"commonName"`
	Organizations []string `yaml:"organizations,omitempty"`
	// Names are DNS names and IP addresses; one text may render several, separated by commas.
	Names  []string `yaml:"names,omitempty"`
	Usages []string `yaml:"usages"` // client, server
	Join   string   `yaml:"join,omitempty"`
	// Kubeconfig is an API server's URL: Path then is a kubeconfig that embeds certificate, key and authority.
	Kubeconfig string `yaml:"kubeconfig,omitempty"`
	When       string `yaml:"when,omitempty"`
}

// Unit is a unit of a role.
type Unit struct {
	Name   string   `yaml:"name"`
	State  string   `yaml:"state,omitempty"` // default started
	Enable bool     `yaml:"enable,omitempty"`
	Inputs []string `yaml:"inputs,omitempty"` // templates of globs, as for a File
	Reload bool     `yaml:"reload,omitempty"`
	// Exclusive: one node of the cluster at a time restarts it.
	Exclusive bool `yaml:"exclusive,omitempty"`
	// Before names the unit in front of which this one is started; without it, it comes after those known so far.
	Before string `yaml:"before,omitempty"`
	When   string `yaml:"when,omitempty"`
}

// FS is where built-in roles and overlays are read from: <role>/role.yaml and <role>/rootfs/...
type FS = fs.FS
