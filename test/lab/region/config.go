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
	c := map[string]any{
		"aws": map[string]any{
			"endpoints": map[string]string{
				"ec2": api, "autoscaling": api, "sts": api, "ssm": api, "kms": api, "route53": api, "s3": r.S3.URL(),
				"imds": "http://" + imdsAddress(i.PrivateIP), // so that verbs run by hand find it, too
			},
			"pathStyle": true,
		},
		"kubelet": map[string]any{
			"config": map[string]any{"address": i.PrivateIP.String(), "healthzBindAddress": i.PrivateIP.String()},
		},
		"metrics": map[string]any{"listen": net.JoinHostPort(i.PrivateIP.String(), "3989")},
		// Containers need root and cgroups: a laboratory runs etcd as a process.
		"etcd": map[string]any{"runAs": "unit"},
	}
	maps.Copy(c, r.options.Config)
	text, err := yaml.Marshal(c)
	return string(text), err
}
