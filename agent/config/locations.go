package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

var (
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	zoneID    = regexp.MustCompile(`^Z[A-Z0-9]{2,31}$`)
	imageName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	imageTag  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digest    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// location checks a place where objects are: one of the schemes, and what each of them needs.
func (v *validator) location(path, text string, schemes ...string) {
	want := make([]string, len(schemes))
	for i, s := range schemes {
		want[i] = map[string]string{"s3": "s3://BUCKET/PREFIX", "dir": "dir:///PATH", "https": "https://HOST/PATH", "http": ""}[s]
	}
	remedy := "write " + strings.Join(slices.DeleteFunc(want, func(s string) bool { return s == "" }), " or ")
	u, err := url.Parse(text)
	switch {
	case err != nil:
		v.bad(path, "not a URL: "+quote(text), remedy)
		return
	case !slices.Contains(schemes, u.Scheme):
		v.bad(path, "unknown scheme in "+quote(u.Redacted()), remedy)
		return
	case v.plainURL(path, u):
		return
	}
	p := strings.TrimSuffix(u.Path, "/")
	switch {
	case p != "" && !absolute(p):
		v.bad(path, "the path "+quote(u.Path)+" has empty, . or .. elements", "write it without them")
	case u.Scheme == "dir" && u.Host != "":
		v.bad(path, "dir:// with two slashes names a host", "write dir:///"+clip(u.Host+u.Path, 100))
	case u.Scheme == "dir" && p == "":
		v.bad(path, "no directory", remedy)
	case u.Scheme == "s3" && (!bucket.MatchString(u.Host) || strings.Contains(u.Host, "..")):
		v.bad(path, "not a bucket's name: "+quote(u.Host), "write 3 to 63 lower-case letters, digits, dots and dashes")
	case u.Scheme == "https" || u.Scheme == "http":
		if !host(u.Host) {
			v.bad(path, "no host in "+quote(text), remedy)
		} else if u.Scheme == "http" && v.config.Assets.PublicKey == "" {
			v.warn(path, "http:// without a signed manifest: whoever is on the way can replace every binary", "use https://, or sign the manifest and set assets.publicKey")
		}
	}
}

// plainURL reports what no URL here may have: a password, a query, a fragment.
func (v *validator) plainURL(path string, u *url.URL) bool {
	switch {
	case u.User != nil:
		n := len(v.problems)
		v.bad(path, "a URL with a user or a password", "remove it: configuration holds no secrets")
		for i := n; i < len(v.problems); i++ {
			v.problems[i].source = ""
		}
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		v.bad(path, "a URL with a query or a fragment", "remove what follows ? or #")
	default:
		return false
	}
	return true
}

// endpoint checks the URL of a service: scheme and host, a port if wanted, no path unless allowed.
func (v *validator) endpoint(path, text string, schemes []string, withPath bool) *url.URL {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || !host(u.Host):
		v.bad(path, "not a URL: "+quote(text), "write "+schemes[0]+"://HOST:PORT")
	case !slices.Contains(schemes, u.Scheme):
		v.bad(path, "unknown scheme in "+quote(u.Redacted()), "write "+strings.Join(schemes, ":// or ")+"://")
	case v.plainURL(path, u):
	case !withPath && u.Path != "" && u.Path != "/":
		v.bad(path, "a URL with a path", "remove "+clip(u.Path, 60))
	default:
		return u
	}
	return nil
}

// host accepts an address or a name, with or without a port.
func host(text string) bool {
	name := text
	if rest, ok := strings.CutPrefix(text, "["); ok {
		inner, port, ok := strings.Cut(rest, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6() && (port == "" || strings.HasPrefix(port, ":") && isPort(port[1:]))
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Zone() == ""
	}
	if before, port, ok := strings.Cut(text, ":"); ok {
		if !isPort(port) {
			return false
		}
		name = before
	}
	if strings.Trim(name, "0123456789.") == "" { // looks like an address, and is none or has a port
		_, err := netip.ParseAddr(name)
		return err == nil
	}
	return len(validation.IsDNS1123Subdomain(strings.ToLower(name))) == 0
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n > 0 && n < 65536 && strconv.Itoa(n) == text
}

// image checks a reference: a name with tag or digest.
func (v *validator) image(path, ref string) {
	if ref == "" {
		return
	}
	name, sum, digested := strings.Cut(ref, "@")
	tag := ""
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
		if !imageTag.MatchString(tag) {
			v.bad(path, "not an image's tag: "+quote(tag), "write REPOSITORY/NAME:TAG")
			return
		}
	}
	switch {
	case strings.Contains(ref, "://"):
		v.bad(path, "an image reference has no scheme: "+quote(ref), "remove what stands before ://, with it")
	case !imageName.MatchString(name) || digested && !digest.MatchString(sum):
		v.bad(path, "not an image reference: "+quote(ref), "write REPOSITORY/NAME:TAG or REPOSITORY/NAME@sha256:DIGEST")
	case tag == "" && !digested, tag == "latest" && !digested:
		v.warn(path, "the image is not pinned to a version", "add :TAG or @sha256:DIGEST")
	}
}
