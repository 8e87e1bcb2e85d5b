package plan

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"rekindle/roles"
)

// checkPKI looks at authorities and certificates.
func checkPKI(p *Plan) (errs []error) {
	held := map[string]Authority{}
	for _, a := range p.Authorities {
		if _, twice := held[a.Name]; twice {
			errs = append(errs, problem("authority "+a.Name, "is there twice: keep one"))
		}
		held[a.Name] = a
		if err := (roles.Authority{Name: a.Name, Path: a.Path, Key: a.Key, Signer: a.Signer}).Check(); err != nil {
			errs = append(errs, problem("authority "+a.Name, "%w", err))
		}
	}
	asked := map[string]string{}
	for _, c := range p.Certs {
		if other := asked[c.Join]; c.Join != "" && other != "" {
			errs = append(errs, problem("cert "+c.Path, "a master signs %s once for a node, and %s is it: remove one", c.Join, other))
		}
		asked[c.Join] = c.Path
		for _, err := range checkCert(c, held) {
			errs = append(errs, problem("cert "+c.Path, "%w", err))
		}
	}
	return errs
}

func checkCert(c Cert, held map[string]Authority) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := (roles.Cert{
		Path: c.Path, Key: c.Key, Authority: c.Authority, CommonName: c.CommonName, Organizations: c.Organizations,
		Names: c.Names, Usages: c.Usages, Join: c.Join, Kubeconfig: c.Kubeconfig,
	}).Check(); err != nil {
		errs = append(errs, err)
	}
	switch a, ok := held[c.Authority]; {
	case !ok:
		bad("authority %s is not held by the node", c.Authority)
	case a.Key == "" && c.Join == "":
		bad("nobody signs it: the node does not hold the key of authority %s, and asks no master", c.Authority)
	}
	for _, name := range c.Names {
		if !certName(name) {
			bad("name %q is neither a DNS name nor an IP address", name)
		}
	}
	var life metav1.Duration
	if err := life.UnmarshalJSON([]byte(strconv.Quote(c.Life))); err != nil || life.Duration <= 0 {
		bad("life %q is no duration: write it like 720h0m0s", c.Life)
	}
	if u, err := url.Parse(c.Kubeconfig); c.Kubeconfig != "" && (err != nil || u.Scheme != "https" || u.Hostname() == "") {
		bad("kubeconfig %q is no URL of an API server: write https://<host>:<port>", c.Kubeconfig)
	}
	return errs
}

func certName(name string) bool {
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Zone() == ""
	}
	return len(validation.IsDNS1123Subdomain(name)) == 0 || len(validation.IsWildcardDNS1123Subdomain(name)) == 0
}

// checkInputs looks at what restarts something when it changes.
func checkInputs(p *Plan) (errs []error) {
	reads := map[string][]string{}
	for _, f := range p.Files {
		reads[f.Path] = f.Inputs
	}
	for _, f := range p.Files {
		marked := strings.Contains(f.Content, InputsMark)
		switch {
		case marked && len(f.Inputs) == 0:
			errs = append(errs, problem(f.Path, "has %s and no inputs: name in the role's files what it stands for, or remove it", InputsMark))
		case !marked && len(f.Inputs) > 0:
			errs = append(errs, problem(f.Path, "has inputs and nowhere to put their digest: write %s into it, in a static pod as "+
				"annotation rekindle/inputs: %q", InputsMark, InputsMark))
		case leadsTo(f.Path, f.Inputs, reads, len(p.Files)):
			errs = append(errs, problem(f.Path, "its inputs lead back to itself: remove one of them"))
		}
		if f.Exclusive != "" && !slices.ContainsFunc(p.Units, func(u Unit) bool { return u.Name == f.Exclusive }) {
			errs = append(errs, problem(f.Path, "exclusive: %s is no unit of the plan: name the one that restarts something when the "+
				"file changes", f.Exclusive))
		}
	}
	return errs
}

// leadsTo follows inputs, depth steps at most.
func leadsTo(goal string, from []string, reads map[string][]string, depth int) bool {
	return depth > 0 && slices.ContainsFunc(from, func(in string) bool {
		return in == goal || leadsTo(goal, reads[in], reads, depth-1)
	})
}
