package config

import (
	"fmt"
	"slices"
	"strings"

	"aead.dev/minisign"
)

func (v *validator) assets() {
	a := v.config.Assets
	if a.Parallel < 1 || a.Parallel > 64 {
		v.bad("assets.parallel", fmt.Sprintf("%d is out of range", a.Parallel), "write 1 to 64")
	}
	v.within("assets.readTimeout", a.ReadTimeout, 1e9, 600e9)
	if a.PublicKey == "" || secret(a.PublicKey) != "" {
		return
	}
	var key minisign.PublicKey
	if err := key.UnmarshalText([]byte(a.PublicKey)); err != nil || strings.ContainsAny(a.PublicKey, "\n ") {
		v.bad("assets.publicKey", "not a minisign public key: "+quote(a.PublicKey), "write the second line of minisign.pub, 56 characters that begin with RW")
	}
	if a.Unverified {
		v.bad("assets.unverified", "unverified and publicKey exclude each other", "remove one of them")
	}
}

// services are the endpoints that can be replaced.
var services = []string{"s3", "ec2", "autoscaling", "sts", "ssm", "kms", "route53", "imds"}

func (v *validator) aws() {
	a := v.config.AWS
	if a.Region != "" && !region.MatchString(a.Region) {
		v.bad("aws.region", "not a region: "+quote(a.Region), "write it like cn-north-1, or leave it out: instance metadata has it")
	}
	for name, text := range a.Endpoints {
		path := join("aws.endpoints", name)
		if !slices.Contains(services, name) {
			v.badKey(path, "unknown service "+quote(name), "the services are "+strings.Join(services, ", "))
			continue
		}
		u := v.endpoint(path, text, []string{"https", "http"}, true)
		if u != nil && u.Scheme == "http" && name != "imds" && !loopback(u.Hostname()) {
			v.warn(path, "http:// leaves answers unprotected on the way", "use https://")
		}
	}
}

func loopback(name string) bool {
	return name == "localhost" || strings.HasPrefix(name, "127.") || name == "::1"
}
