package apply_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"rekindle/agent/apply"
	"rekindle/agent/host"
	"rekindle/agent/plan"
)

// issuer holds certificates as package pki does, in text: "#7" at the end of a line is a key pair, and the word SECRET
// stands for private keys.
type issuer struct {
	host        *host.Host
	serial      int
	authorities map[string]int // what the store holds, by name
	due         map[string]int // serials to be renewed, by the certificate's path
	spoil       func([]apply.Held) []apply.Held
	warnings    []string
	err         error
}

func newIssuer(h *host.Host) *issuer {
	return &issuer{host: h, authorities: map[string]int{}, due: map[string]int{}}
}

func (i *issuer) Hold(_ context.Context, p *plan.Plan, dry bool) ([]apply.Held, []string, error) {
	if i.err != nil {
		return nil, nil, i.err
	}
	var held []apply.Held
	hold := func(path string, mode plan.Mode, content, why string) {
		h := apply.Held{File: apply.File{Path: path, Mode: mode, Content: []byte(content)}, Why: why}
		if dry && why != "" {
			h.Content = nil
		}
		held = append(held, h)
	}
	for _, authority := range p.Authorities {
		if i.authorities[authority.Name] == 0 {
			i.authorities[authority.Name] = 1
		}
		serial := i.authorities[authority.Name]
		trust := fmt.Sprintf("TRUST %s #%d\n", authority.Name, serial)
		hold(authority.Path, 0o644, trust, i.why(authority.Path, trust))
		if authority.Key != "" {
			key := fmt.Sprintf("SECRET %s #%d\n", authority.Name, serial)
			hold(authority.Key, 0o600, key, i.why(authority.Key, key))
		}
		if authority.Signer != "" {
			hold(authority.Signer, 0o644, trust, i.why(authority.Signer, trust))
		}
	}
	for _, cert := range p.Certs {
		why := i.whyCert(cert)
		serial, _ := serialOf(i.read(cert.Path))
		if why != "" {
			i.serial++
			serial = i.serial
		}
		key, text := fmt.Sprintf("SECRET %s #%d\n", cert.Path, serial), fmt.Sprintf("%s #%d\n", i.subject(cert), serial)
		if cert.Key == "" {
			hold(cert.Path, 0o600, "SECRET "+text, why)
			continue
		}
		hold(cert.Path, 0o644, text, why)
		hold(cert.Key, 0, key, why)
	}
	if i.spoil != nil {
		held = i.spoil(held)
	}
	return held, i.warnings, nil
}

// age makes a certificate due.
func (i *issuer) age(path string) { i.due[path], _ = serialOf(i.read(path)) }

func (i *issuer) subject(c plan.Cert) string {
	return fmt.Sprintf("CERT %s %s by %s-%d", c.CommonName, strings.Join(c.Names, ","), c.Authority, i.authorities[c.Authority])
}

func (i *issuer) read(path string) string {
	data, err := i.host.Read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "unreadable"
	}
	return string(data)
}

func (i *issuer) why(path, content string) string {
	switch i.read(path) {
	case content:
		return ""
	case "":
		return "none yet"
	}
	return "it changed in the store"
}

// whyCert issues again what is due, does not match its key, or is not what the plan asks for.
func (i *issuer) whyCert(c plan.Cert) string {
	text := i.read(c.Path)
	serial, ok := serialOf(text)
	if text == "" {
		return "none yet"
	}
	if !ok || !strings.Contains(text, i.subject(c)+" ") {
		return "its names changed"
	}
	if key, ok := serialOf(i.read(c.Key)); c.Key != "" && (!ok || key != serial) {
		return "its key does not match"
	}
	if i.due[c.Path] == serial {
		return "10 of 30 days left"
	}
	return ""
}

var serials = regexp.MustCompile(`#\d+\n`)

func serialOf(text string) (serial int, ok bool) {
	n, err := fmt.Sscanf(serials.FindString(text), "#%d\n", &serial)
	return serial, n == 1 && err == nil
}

// authorized adds an authority, a pair and a kubeconfig to a plan.
func authorized(p *plan.Plan) *plan.Plan {
	p.Dirs = append(p.Dirs, plan.Dir{Path: "/etc/kubernetes/pki", Mode: 0o755})
	p.Authorities = []plan.Authority{{Name: "etcd", Path: "/etc/kubernetes/pki/etcd/ca.crt", Key: "/etc/kubernetes/pki/etcd/ca.key"}}
	p.Certs = []plan.Cert{
		{Path: "/etc/kubernetes/pki/etcd/server.crt", Key: "/etc/kubernetes/pki/etcd/server.key", Authority: "etcd", CommonName: "m1", Names: []string{"127.0.0.1"}},
		{Path: "/etc/kubernetes/admin.conf", Authority: "etcd", CommonName: "admin", Kubeconfig: "https://127.0.0.1"},
	}
	return p
}
