package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

func (v *validator) containerd() {
	c := v.config.Containerd
	if v.isSet("containerd.sandboxImage") { // otherwise it follows from imageRepository, which is checked
		v.image("containerd.sandboxImage", c.SandboxImage)
	}
	for i, r := range c.Registries {
		path := at("containerd.registries", i)
		switch {
		case r.Host == "":
			v.bad(path+".host", "a registry without a host", "write the registry's name as image references have it, or _default")
		case r.Host != "_default" && !host(r.Host):
			v.bad(path+".host", "not a registry's host: "+quote(r.Host), "write HOST or HOST:PORT without scheme and path, or _default")
		}
		if r.Server != "" {
			v.endpoint(path+".server", r.Server, []string{"https", "http"}, true)
		}
		if r.Server == "" && len(r.Mirrors) == 0 {
			v.bad(path, "a registry without mirrors", "add mirrors, or remove it")
		}
		for j, m := range r.Mirrors {
			v.mirror(at(path+".mirrors", j), m)
		}
	}
	unique(v, "containerd.registries", c.Registries, func(r Registry) string { return r.Host }, ".host")
	var parsed map[string]any
	if err := toml.Unmarshal([]byte(c.Config), &parsed); err != nil {
		where := ""
		if e, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, column := e.Position()
			where = fmt.Sprintf("line %d, column %d of the value: ", line, column)
		}
		v.bad("containerd.config", "not TOML: "+where+strings.TrimPrefix(err.Error(), "toml: "), "correct it; quote strings with double quotes")
	}
}

func (v *validator) mirror(path string, m Mirror) {
	if m.URL == "" {
		v.bad(path+".url", "a mirror without a URL", "write https://HOST")
	} else if u := v.endpoint(path+".url", m.URL, []string{"https", "http"}, true); u != nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		v.warn(path+".url", "http:// lets whoever is on the way replace images that are pulled by tag", "use https://, with ca for a private authority")
	}
	if m.SkipVerify {
		v.warn(path+".skipVerify", "the mirror's certificate is not verified", "set ca instead")
	}
	if m.CA != "" {
		v.target(path+".ca", m.CA)
	}
}
