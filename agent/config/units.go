package config

import (
	"regexp"
	"strings"
)

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?\.(service|socket|timer|mount|automount|swap|path|target|slice)$`)

var dropInName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]*\.conf$`)

var sysctlName = regexp.MustCompile(`^[a-z0-9_-]+([./][A-Za-z0-9_*:-]+)+$`)

var moduleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

func (v *validator) units() {
	c := v.config
	for i, u := range c.Units {
		path := at("units", i)
		if u.Name == "" {
			v.bad(path+".name", "a unit without a name", "write it with its suffix, for instance x.service")
		} else if len(u.Name) > 255 || !unitName.MatchString(u.Name) {
			v.bad(path+".name", "not a unit's name: "+quote(u.Name), "write it with its suffix: .service, .socket, .timer, .mount, .path, .target or .slice")
		}
		v.oneOf(path+".state", u.State, "started", "enabled", "stopped")
		v.section(path+".content", u.Content)
		for name, text := range u.DropIns {
			own := join(path+".dropIns", name)
			if !dropInName.MatchString(name) {
				v.badKey(own, "not a drop-in's name: "+quote(name), "write it like 10-limits.conf")
			}
			v.section(own, text)
		}
	}
	unique(v, "units", c.Units, func(u Unit) string { return u.Name }, ".name")
}

// section wants a unit file to begin with one: systemd ignores what stands before, and says so only in the journal.
func (v *validator) section(path, text string) {
	for line := range strings.Lines(text) {
		switch t := strings.TrimSpace(line); {
		case t == "", t[0] == '#', t[0] == ';':
		case t[0] == '[' && t[len(t)-1] == ']':
			return
		default:
			v.bad(path, "a line before the first section: "+quote(t), "begin with [Unit] or [Service]")
			return
		}
	}
}

func (v *validator) machine() {
	c := v.config
	for name, value := range c.Sysctls {
		path := join("sysctls", name)
		if !sysctlName.MatchString(name) || strings.Contains(name, "..") {
			v.badKey(path, "not a sysctl: "+quote(name), "write it like net.ipv4.ip_forward")
		}
		if v.line(path, value) && strings.TrimSpace(value) == "" {
			v.bad(path, "no value", "write one, or null to leave the sysctl as the role has it")
		}
	}
	for i, name := range c.Modules {
		if !moduleName.MatchString(name) {
			v.bad(at("modules", i), "not a kernel module: "+quote(name), "write its name without path and .ko")
		}
	}
	unique(v, "modules", c.Modules, func(m string) string { return m }, "")
}
