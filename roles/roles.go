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
	Dirs        []Dir
	Assets      []Asset
	Files       []File
	Units       []Unit
	// Digest identifies the exact role: sha256 over all that was loaded.
	Digest string
}

// Dir is a directory of a role.
type Dir struct {
	Path string `yaml:"path"`
	Mode string `yaml:"mode,omitempty"` // default 0755
	When string `yaml:"when,omitempty"` // a template; the entry counts only if it renders "true"
}

// Asset is an object of the store.
type Asset struct {
	Object string `yaml:"object"` // a template
	Path   string `yaml:"path"`
	Mode   string `yaml:"mode,omitempty"` // default 0755 for files
	Unpack bool   `yaml:"unpack,omitempty"`
	When   string `yaml:"when,omitempty"`
}

// File is a template and its attributes.
type File struct {
	Path   string `yaml:"path"`
	Mode   string `yaml:"mode,omitempty"`   // default 0644
	Syntax string `yaml:"syntax,omitempty"` // "template" (default for .tmpl), "percent" (%%NAME%%) or "plain"
	When   string `yaml:"when,omitempty"`
	Text   string `yaml:"-"`
}

// Unit is a unit of a role.
type Unit struct {
	Name   string   `yaml:"name"`
	State  string   `yaml:"state,omitempty"` // default started
	Enable bool     `yaml:"enable,omitempty"`
	Inputs []string `yaml:"inputs,omitempty"` // globs over the paths of the plan's files and assets
	Reload bool     `yaml:"reload,omitempty"`
	When   string   `yaml:"when,omitempty"`
}

// FS is where built-in roles and overlays are read from: <role>/role.yaml and <role>/rootfs/...
type FS = fs.FS
