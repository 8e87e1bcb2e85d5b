package pki

import (
	"crypto/x509"
	"fmt"
	"io"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
)

// Certificate is one that lies on a node's disk.
type Certificate struct {
	// Name is kubeadm's: "apiserver", "etcd-peer", "admin.conf", and of an authority "ca", "etcd-ca", "front-proxy-ca".
	Name string `json:"name"`
	Path string `json:"path"`
	// Authority is the name of the one that signed it; empty of an authority.
	Authority string    `json:"authority,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
	Renew     time.Time `json:"renew,omitzero"` // when the agent renews it; authorities are rotated by people
	State     State     `json:"state"`
	Problem   string    `json:"problem,omitempty"` // why it is not good
}

// Expiry is what a node holds, and until when.
type Expiry struct {
	Certificates []Certificate `json:"certificates"`
	Authorities  []Certificate `json:"authorities"`
}

// State is the worst of all.
func (e *Expiry) State() State {
	worst := Good
	for _, list := range [][]Certificate{e.Certificates, e.Authorities} {
		for _, one := range list {
			if one.State == Bad || worst == Good {
				worst = one.State
			}
			if worst == Bad {
				return Bad
			}
		}
	}
	return worst
}

// Text prints the tables of `kubeadm certs check-expiration`, with the state in the place of who manages a certificate.
func (e *Expiry) Text(w io.Writer, now time.Time) error {
	table := tabwriter.NewWriter(w, 10, 4, 3, ' ', 0)
	row := func(columns ...string) { _, _ = fmt.Fprintln(table, strings.Join(columns, "\t")) } // Flush returns the error
	row("CERTIFICATE", "EXPIRES", "RESIDUAL TIME", "CERTIFICATE AUTHORITY", "STATE")
	for _, one := range e.Certificates {
		expires, residual := one.when(now)
		row(one.Name, expires, residual, one.Authority, one.state())
	}
	row()
	row("CERTIFICATE AUTHORITY", "EXPIRES", "RESIDUAL TIME", "STATE")
	for _, one := range e.Authorities {
		expires, residual := one.when(now)
		row(one.Name, expires, residual, one.state())
	}
	return table.Flush()
}

func (c *Certificate) when(now time.Time) (expires, residual string) {
	if c.Expires.IsZero() {
		return "", ""
	}
	return c.Expires.UTC().Format("Jan 02, 2006 15:04 MST"), duration.ShortHumanDuration(c.Expires.Sub(now))
}

func (c *Certificate) state() string {
	if c.Problem == "" {
		return string(c.State)
	}
	return string(c.State) + ": " + c.Problem
}

// certificateOf describes a certificate that was judged.
func certificateOf(file string, v Verdict) Certificate {
	one := Certificate{Name: nameOf(file), Path: file, State: v.State, Problem: v.Why, Renew: v.Renew.UTC()}
	if v.Certificate != nil {
		one.Expires = v.Certificate.NotAfter.UTC()
	}
	return one
}

// authorityNotice is how long before its end an authority should be replaced, or a third of its life if that is shorter.
// A rotation takes as long as the longest certificate that it signed.
const authorityNotice = 90 * 24 * time.Hour

// authorityOf describes the certificate that an authority signs with.
func authorityOf(file string, ca *x509.Certificate, now time.Time) Certificate {
	one := Certificate{Name: nameOf(file), Path: file, State: Good, Expires: ca.NotAfter.UTC()}
	switch notice := min(authorityNotice, ca.NotAfter.Sub(ca.NotBefore)/3); {
	case !now.Before(ca.NotAfter):
		one.State, one.Problem = Bad, "it expired"
	case !now.Before(ca.NotAfter.Add(-notice)):
		one.State, one.Problem = Due, "it should be replaced: rekindle pki rotate"
	}
	return one
}

// The directories in which certificates lie.
const (
	kubernetesDir = "/etc/kubernetes"
	pkiDir        = "/etc/kubernetes/pki"
	kubeletDir    = "/var/lib/kubelet/pki"
	joinDir       = "/var/lib/rekindle/pki"
)

// nameOf is what kubeadm calls the certificate in a file: of a kubeconfig its file name, else the path below the
// directory (cmd/kubeadm/app/phases/certs).
func nameOf(file string) string {
	for _, dir := range []string{pkiDir, kubeletDir, joinDir} {
		if rest, ok := strings.CutPrefix(file, dir+"/"); ok {
			return strings.ReplaceAll(strings.TrimSuffix(rest, path.Ext(rest)), "/", "-")
		}
	}
	return path.Base(file)
}
