package region

import (
	"maps"
	"net"

	"sigs.k8s.io/yaml"

	"rekindle/test/cloud"
)

// imageConfig is the layer that an AMI of this region carries: where the APIs are, and what a node on a loopback
// address needs. All that a real AMI in a real region would have to carry of it is the store, if that.
func (r *Region) imageConfig(i *cloud.Instance) (string, error) {
	api := "http://" + r.net.api()
	endpoints := map[string]string{
		"ec2": api, "autoscaling": api, "sts": api, "ssm": api, "kms": api, "route53": api, "s3": r.S3.URL(),
	}
	c := map[string]any{
		"aws": map[string]any{"endpoints": endpoints, "pathStyle": true},
		// Containers need root and cgroups: a laboratory runs etcd as a process.
		"etcd": map[string]any{"runAs": "unit"},
	}
	if r.net.vpc == nil { // instances share one network
		endpoints["imds"] = "http://" + imdsAddress(i.PrivateIP) // so that verbs run by hand find it, too
		c["kubelet"] = map[string]any{
			"config": map[string]any{"address": i.PrivateIP.String(), "healthzBindAddress": i.PrivateIP.String()},
		}
		c["metrics"] = map[string]any{"listen": net.JoinHostPort(i.PrivateIP.String(), "3989")}
	}
	maps.Copy(c, r.options.Config)
	text, err := yaml.Marshal(c)
	return string(text), err
}
