package site

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"rekindle/test/cloud"
	"rekindle/test/lab/image"
	"rekindle/test/lab/node"
)

// Machine is one instance. Its agent is started with the methods of node.Node, or by a script.
type Machine struct {
	*node.Node
	Instance *cloud.Instance
	Endpoint string // of its metadata service, whether it is served or not

	site *Site
	imds *cloud.Server
}

// Launch makes an instance and its disk, in a directory of that name. The image's layer of the configuration says where
// the APIs are; config is laid over it. Extra arguments go to `rekindle run`.
func (s *Site) Launch(name string, spec cloud.InstanceSpec, config map[string]any, args ...string) (*Machine, error) {
	if spec.Role == "" {
		spec.Role = Role
	}
	i, err := s.Cloud.Launch(spec)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(s.options.Dir, name)
	text, err := yaml.Marshal(s.imageConfig(i, config))
	if err != nil {
		return nil, err
	}
	err = image.Make(root, image.Options{
		Standin: s.options.Programs.Standin,
		Files:   map[string]string{"/etc/rekindle/10-site.yaml": string(text), "/dev/console": ""},
	})
	if err != nil {
		return nil, err
	}
	m := &Machine{Instance: i, site: s, Endpoint: "http://" + netip.AddrPortFrom(i.PrivateIP, imdsPort).String()}
	m.Node = node.New(node.Options{
		ID: i.ID, Root: root, Log: root + ".log", Binary: s.options.Programs.Rekindle,
		Args: append([]string{"run", "--root", root, "--units", "process", "--log-format", "text"}, args...),
		Env:  m.Environ(),
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machines = append(s.machines, m)
	return m, nil
}

// imageConfig is what an AMI of this site carries.
func (s *Site) imageConfig(i *cloud.Instance, config map[string]any) map[string]any {
	endpoints := map[string]string{"ec2": s.API.URL, "autoscaling": s.API.URL, "sts": s.API.URL, "ssm": s.API.URL, "kms": s.API.URL,
		"route53": s.API.URL}
	if s.S3 != nil {
		endpoints["s3"] = s.Endpoint()
	}
	c := map[string]any{
		"aws":     map[string]any{"endpoints": endpoints, "pathStyle": true},
		"kubelet": map[string]any{"config": map[string]any{"address": i.PrivateIP.String(), "healthzBindAddress": i.PrivateIP.String()}},
		"etcd":    map[string]any{"runAs": "unit"},
		"metrics": map[string]any{"listen": netip.AddrPortFrom(i.PrivateIP, 3989).String()},
	}
	maps.Copy(c, config)
	return c
}

// Quick keeps a binary with the race detector from waiting a second before it ends.
const Quick = "GORACE=atexit_sleep_ms=0"

// Environ is all that the environment of the machine's processes needs.
func (m *Machine) Environ() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + m.Endpoint, Quick,
	}
}

// ServeMetadata lets the machine's metadata service answer, as seen over so many hops: 1 from the machine itself.
func (m *Machine) ServeMetadata(ctx context.Context, hops int) error {
	address := netip.AddrPortFrom(m.Instance.PrivateIP, imdsPort).String()
	server, err := cloud.Serve(context.WithoutCancel(ctx), address, m.site.Cloud.IMDSBehind(m.ID, hops))
	if err != nil {
		return fmt.Errorf("metadata of %s: %w", m.ID, err)
	}
	m.imds = server
	return nil
}

func (m *Machine) hideMetadata() error {
	if m.imds == nil {
		return nil
	}
	return m.imds.Close()
}
