package config

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The authorities that the operator may bring, and the keys that the agent makes. (agent/pki, whose names these are,
// reads configurations itself.)
var (
	authorities   = []string{"kubernetes", "etcd", "front-proxy", "service-account"}
	keyAlgorithms = []string{"ECDSA-P256", "ECDSA-P384", "RSA-2048", "RSA-3072", "RSA-4096"}
)

var (
	keyID    = `([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})`
	keyAlias = `alias/[A-Za-z0-9/_-]{1,250}`
	kmsKey   = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(key/` + keyID + `|` + keyAlias + `)|` + keyID + `|` + keyAlias + `)$`)
)

// margin is how many lives of a component's certificate an authority lasts at least: its rotation takes several.
const margin = 4

func (v *validator) pki() {
	p := v.config.PKI
	v.kmsKey(p)
	if p.KeyAlgorithm == "" {
		v.bad("pki.keyAlgorithm", "no algorithm", "write "+strings.Join(keyAlgorithms, " or ")+", or leave it out")
	}
	v.oneOf("pki.keyAlgorithm", p.KeyAlgorithm, keyAlgorithms...)
	const year = 365 * 24 * time.Hour
	v.within("pki.life", p.Life, time.Hour, year)
	v.within("pki.authorityLife", p.AuthorityLife, year, 30*year)
	if p.Life <= year && p.AuthorityLife >= year && p.AuthorityLife < margin*p.Life {
		v.bad("pki.authorityLife", p.AuthorityLife.String()+" is too short for certificates that live "+p.Life.String(),
			"write at least "+(margin*p.Life).String()+", so that an authority can be replaced in time")
	}
	// A third of its life is left when a certificate is due, and the daemon looks at it every resync.
	if p.Life >= time.Hour && p.Life < 6*v.config.Timeouts.Resync {
		v.bad("pki.life", p.Life.String()+" leaves no time to renew: the agent looks every "+v.config.Timeouts.Resync.String(),
			"write at least "+(6*v.config.Timeouts.Resync).String()+", or a shorter timeouts.resync")
	}
	for i, name := range p.Names {
		v.certName(at("pki.names", i), name)
	}
	unique(v, "pki.names", p.Names, func(name string) string {
		if a, err := netip.ParseAddr(name); err == nil {
			return a.String()
		}
		return strings.ToLower(name)
	}, "")
	for name, refs := range p.Authorities {
		v.authority(join("pki.authorities", name), name, refs)
	}
}

func (v *validator) kmsKey(p PKI) {
	m := kmsKey.FindStringSubmatch(p.KMSKey)
	switch {
	case p.KMSKey == "" && p.Seal:
		v.bad("pki.seal", "nothing to seal with", "set pki.kmsKey, too")
	case p.KMSKey == "":
	case m == nil:
		remedy := "write the key's ARN or id, or alias/NAME"
		if id, ok := strings.CutPrefix(p.KMSKey, "key/"); ok && kmsKey.MatchString(id) {
			remedy = "write " + id
		} else if kmsKey.MatchString("alias/" + p.KMSKey) {
			remedy = "write the key's ARN or id, or for an alias alias/" + clip(p.KMSKey, 60)
		}
		v.bad("pki.kmsKey", "not a KMS key: "+quote(p.KMSKey), remedy)
	case p.Seal && strings.Contains(p.KMSKey, "alias/aws/"):
		v.bad("pki.kmsKey", quote(p.KMSKey)+" encrypts for AWS's services only", "make a key of your own to seal with, or remove pki.seal")
	case m[2] != "" && v.config.AWS.Region != "" && m[2] != v.config.AWS.Region:
		v.bad("pki.kmsKey", "a key in "+m[2]+" for a store in "+v.config.AWS.Region, "name a key of the bucket's region")
	}
}

// certName wants what a certificate can be valid for: an address or a DNS name, whose first label may be a wildcard.
func (v *validator) certName(path, name string) {
	if a, err := netip.ParseAddr(name); err == nil {
		if a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() {
			v.bad(path, "not an address of a server: "+quote(name), "write the address that clients use")
		}
		return
	}
	switch {
	case name == "":
		v.bad(path, "an empty name", "remove it")
	case strings.Contains(name, "://"), strings.Contains(name, ":"), strings.Contains(name, "/"):
		v.bad(path, "not a name or an address: "+quote(name), "write it without scheme, port, brackets and path")
	case strings.Contains(strings.TrimPrefix(name, "*."), "*"):
		v.bad(path, "a wildcard that is not the first label: "+quote(name), "write *.DOMAIN, or every name")
	case strings.Trim(name, "0123456789.") == "":
		v.bad(path, "not an address: "+quote(name), "write four numbers from 0 to 255")
	default:
		v.domain(path, strings.TrimPrefix(name, "*."))
	}
}

func (v *validator) authority(path, name string, refs AuthorityRefs) {
	if !slices.Contains(authorities, name) {
		remedy := "the authorities are " + strings.Join(authorities, ", ")
		for _, known := range authorities {
			if Edits(fold(known), fold(name)) < 3 {
				remedy = "did you mean " + known + "?"
			}
		}
		v.badKey(path, "unknown authority "+quote(name), remedy)
		return
	}
	switch {
	case name == "service-account" && refs.Certificate != "":
		v.bad(path+".certificate", "service-account is a key pair and has no certificate", "remove it; key is enough")
	case name != "service-account" && refs.Certificate == "":
		v.bad(path, "an authority without certificate", "set certificate to a reference, for instance s3:pki/"+name+".crt")
	case refs.Certificate != "":
		v.ref(path+".certificate", refs.Certificate)
	}
	switch {
	case refs.Key == "":
		v.bad(path, "an authority without key", "set key to a reference, for instance ssm:/"+name+"-key: masters sign with it")
	case refs.Key == refs.Certificate:
		v.bad(path+".key", "certificate and key are read from one place", "keep the key apart: every node reads the certificate")
	default:
		v.ref(path+".key", refs.Key)
	}
}

// ref wants a reference. What is a secret itself is reported as one, elsewhere.
func (v *validator) ref(path string, r Ref) {
	if secret(string(r)) != "" {
		return
	}
	if _, err := r.Location(); err != nil {
		v.bad(path, "not a reference: "+quote(string(r)), "write s3:path/in/store, s3://bucket/key, ssm:/parameter or file:/path")
	}
}
