package plan

import (
	"path"
	"slices"
	"strings"

	"rekindle/roles"
)

// authorities takes over the role's.
func (m *maker) authorities() {
	for _, a := range m.in.Role.Authorities {
		ok, err := m.render.when("role "+m.in.Role.Name+": authority "+a.Name, a.When)
		m.fail(err)
		if ok {
			m.plan.Authorities = append(m.plan.Authorities, Authority{a.Name, a.Path, a.Key, a.Signer})
		}
	}
	if a := m.authority("kubernetes"); a != nil && a.Key != "" && len(m.config.Join.IAMRoles) == 0 {
		m.warn("no node can join: set join.iamRoles to the IAM roles of the nodes' instance profiles")
	}
}

// authority is one of the plan's, or nil.
func (m *maker) authority(name string) *Authority {
	i := slices.IndexFunc(m.plan.Authorities, func(a Authority) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return &m.plan.Authorities[i]
}

// certs renders the role's. Where the node holds the authority's key it signs itself; elsewhere a master does.
func (m *maker) certs() {
	life := m.config.PKI.Life.String()
	for _, c := range m.in.Role.Certs {
		where := "role " + m.in.Role.Name + ": cert " + c.Path
		ok, err := m.render.when(where, c.When)
		m.fail(err)
		if !ok {
			continue
		}
		cert := Cert{
			Path: c.Path, Key: c.Key, Authority: c.Authority, Usages: c.Usages, Life: life,
			CommonName: m.text(where, c.CommonName), Kubeconfig: m.text(where, c.Kubeconfig),
		}
		for _, o := range c.Organizations {
			if o = m.text(where, o); o != "" && !slices.Contains(cert.Organizations, o) {
				cert.Organizations = append(cert.Organizations, o)
			}
		}
		for _, names := range c.Names {
			cert.Names = append(cert.Names, strings.Split(m.text(where, names), ",")...)
		}
		cert.Names = distinct(cert.Names)
		cert.Join, err = m.signer(where, c)
		m.fail(err)
		m.plan.Certs = append(m.plan.Certs, cert)
	}
}

// signer says as which request a master is asked for a certificate; empty when this node signs it.
func (m *maker) signer(where string, c roles.Cert) (join string, err error) {
	switch a := m.authority(c.Authority); {
	case a == nil:
		return "", problem(where, "the node does not hold authority %s: add it to the role's authorities, or remove the certificate",
			c.Authority)
	case a.Key != "":
		return "", nil
	case c.Join == "":
		return "", problem(where, "the node does not hold the key of authority %s, and masters are not asked for it: set join to one of "+
			"%s, or give the role the authority's key", c.Authority, strings.Join(roles.Requests, ", "))
	}
	return c.Join, nil
}

// text renders a template of one line.
func (m *maker) text(where, text string) string {
	out, err := m.render.template(where, text)
	m.fail(err)
	return strings.TrimSpace(out)
}

// globs renders the inputs of a file or unit; what renders to nothing is left out.
func (m *maker) globs(where string, texts []string) (globs []string) {
	for _, text := range texts {
		glob := m.text(where+": inputs", text)
		if glob == "" {
			continue
		}
		if _, err := path.Match(glob, ""); err != nil {
			m.fail(problem(where+": inputs", "%q: %w", glob, err))
		}
		globs = append(globs, glob)
	}
	return globs
}
