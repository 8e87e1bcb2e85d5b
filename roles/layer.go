package roles

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds a file of a role, which ends up in the plan as text. Larger things are assets.
const maxFile = 1 << 20

// layer is one place with roles: the built-in ones, or the store's.
type layer struct {
	name string // "roles" or "overlay", the first element of a Source
	fs   fs.FS
}

// part is one role as one layer has it.
type part struct {
	role, layer string
	manifest    manifest
	files       []File
	partials    []File
}

// manifest is role.yaml. Entries stay nodes, because they are decoded over what the layers below said.
type manifest struct {
	Description string            `yaml:"description"`
	Extends     []string          `yaml:"extends"`
	Abstract    bool              `yaml:"abstract"` // only there to be extended
	Etcd        string            `yaml:"etcd"`
	Labels      map[string]string `yaml:"labels"`
	Taints      []Taint           `yaml:"taints"`
	Dirs        []yaml.Node       `yaml:"dirs"`
	Assets      []yaml.Node       `yaml:"assets"`
	Authorities []yaml.Node       `yaml:"authorities"`
	Certs       []yaml.Node       `yaml:"certs"`
	Files       []yaml.Node       `yaml:"files"`
	Units       []yaml.Node       `yaml:"units"`

	text []byte
}

// manifest reads a role's role.yaml; found is false when the layer has none.
func (l layer) manifest(role string) (m manifest, found bool, err error) {
	name := path.Join(role, "role.yaml")
	text, err := fs.ReadFile(l.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("%s/%s: %w", l.name, name, err)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		err = yaml.Load(text, &m, yaml.WithKnownFields())
	}
	m.text = text
	return m, true, located(path.Join(l.name, name), err)
}

// files reads a role's rootfs.
func (l layer) files(role string) ([]File, error) {
	root := path.Join(role, "rootfs")
	var files []File
	var errs []error
	err := fs.WalkDir(l.fs, root, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == root {
			return fs.SkipAll
		}
		if err != nil || entry.IsDir() {
			return err
		}
		f := File{Path: strings.TrimPrefix(name, root), Source: path.Join(l.name, name), Syntax: Plain}
		if text, ok := strings.CutSuffix(f.Path, ".tmpl"); ok {
			f.Path, f.Syntax = text, Template
		}
		if err := CheckPath(f.Path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.Source, err))
			return nil
		}
		if !entry.Type().IsRegular() {
			errs = append(errs, fmt.Errorf("%s: not a regular file: replace it by its content", f.Source))
			return nil
		}
		f.Text, err = l.read(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.Source, err))
		}
		for _, other := range files {
			if other.Path == f.Path {
				errs = append(errs, fmt.Errorf("%s: writes the same file as %s: remove one of them", f.Source, other.Source))
			}
		}
		files = append(files, f)
		return nil
	})
	return files, errors.Join(append(errs, err)...)
}

// partials reads a role's shared templates; their Path is the file's name.
func (l layer) partials(role string) ([]File, error) {
	names, err := fs.Glob(l.fs, path.Join(role, "partials", "*.tmpl"))
	var files []File
	for _, name := range names {
		text, e := l.read(name)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", path.Join(l.name, name), e))
		}
		files = append(files, File{Path: path.Base(name), Source: path.Join(l.name, name), Syntax: Template, Text: text})
	}
	return files, err
}

func (l layer) read(name string) (string, error) {
	file, err := l.fs.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("larger than %d bytes: publish it as an object and make it an asset", maxFile)
	}
	return string(text), err
}

// located puts the file's name, line and column before each of YAML's complaints.
func located(source string, err error) error {
	if err == nil {
		return nil
	}
	var all []error
	if many, ok := errors.AsType[*yaml.LoadErrors](err); ok {
		for _, e := range many.Errors {
			all = append(all, at(source, e))
		}
		return errors.Join(all...)
	}
	if one, ok := errors.AsType[*yaml.LoadError](err); ok {
		return at(source, one)
	}
	return fmt.Errorf("%s: %w", source, err)
}

func at(source string, e *yaml.LoadError) error {
	return fmt.Errorf("%s:%d:%d: %s", source, e.Mark.Line, e.Mark.Column, e.Message)
}

// digest identifies a role exactly: every byte that it was made from, in order, with lengths between.
func digest(parts []part) string {
	h := sha256.New()
	add := func(text string) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		h.Write([]byte(text))
	}
	for _, p := range parts {
		add(p.role)
		add(p.layer)
		add(string(p.manifest.text))
		for _, f := range slices.Concat(p.files, p.partials) {
			add(f.Source)
			add(f.Text)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
