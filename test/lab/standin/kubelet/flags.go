package main

import (
	"strings"

	"github.com/spf13/pflag"
)

// boolFlags and valueFlags are the flags of the kubelet, 1.34 to 1.37, without those that were removed on the way
// (--pod-infra-container-image in 1.35): what a node of any of them accepts.
var boolFlags = strings.Fields(`
	anonymous-auth authentication-token-webhook cgroups-per-qos contention-profiling cpu-cfs-quota
	enable-controller-attach-detach enable-debugging-handlers enable-server exit-on-lock-contention fail-swap-on help
	kernel-memcg-notification local-storage-capacity-isolation log-json-split-stream log-text-split-stream
	make-iptables-util-chains protect-kernel-defaults register-node rotate-certificates rotate-server-certificates
	runonce seccomp-default serialize-image-pulls version experimental-allocatable-ignore-eviction
`)

var valueFlags = strings.Fields(`
	address allowed-unsafe-sysctls authentication-token-webhook-cache-ttl authorization-mode
	authorization-webhook-cache-authorized-ttl authorization-webhook-cache-unauthorized-ttl bootstrap-kubeconfig cert-dir
	cgroup-driver cgroup-root client-ca-file cloud-config cloud-provider cluster-dns cluster-domain config config-dir
	container-log-max-files container-log-max-size container-runtime-endpoint cpu-cfs-quota-period cpu-manager-policy
	cpu-manager-policy-options cpu-manager-reconcile-period enforce-node-allocatable event-burst event-qps eviction-hard
	eviction-max-pod-grace-period eviction-minimum-reclaim eviction-pressure-transition-period eviction-soft
	eviction-soft-grace-period experimental-mounter-path feature-gates file-check-frequency hairpin-mode
	healthz-bind-address healthz-port hostname-override http-check-frequency image-credential-provider-bin-dir
	image-credential-provider-config image-gc-high-threshold image-gc-low-threshold image-service-endpoint
	iptables-drop-bit iptables-masquerade-bit kube-api-burst kube-api-content-type kube-api-qps kube-reserved
	kube-reserved-cgroup kubeconfig kubelet-cgroups lock-file log-flush-frequency log-json-info-buffer-size
	log-text-info-buffer-size logging-format manifest-url manifest-url-header max-open-files max-pods
	maximum-dead-containers maximum-dead-containers-per-container memory-manager-policy minimum-container-ttl-duration
	minimum-image-ttl-duration node-ip node-labels node-status-max-images node-status-update-frequency oom-score-adj
	pod-cidr pod-manifest-path pod-max-pids pods-per-core port qos-reserved read-only-port register-with-taints
	registry-burst registry-qps reserved-cpus reserved-memory resolv-conf root-dir runtime-cgroups
	runtime-request-timeout streaming-connection-idle-timeout sync-frequency system-cgroups system-reserved
	system-reserved-cgroup tls-cert-file tls-cipher-suites tls-min-version tls-private-key-file
	topology-manager-policy topology-manager-policy-options topology-manager-scope vmodule volume-plugin-dir
	volume-stats-agg-period
`)

// kubeletFlags are the flags that were given.
type kubeletFlags struct{ given *pflag.FlagSet }

func parseFlags(args []string) (*kubeletFlags, error) {
	set := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	for _, name := range boolFlags {
		set.Bool(name, false, "")
	}
	for _, name := range valueFlags {
		set.String(name, "", "")
	}
	set.StringP("v", "v", "0", "")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if extra := set.Args(); len(extra) > 0 {
		return nil, unknownCommand(extra[0])
	}
	return &kubeletFlags{set}, nil
}

type unknownCommand string

func (c unknownCommand) Error() string { return "unknown command " + string(c) }

func (f *kubeletFlags) set(name string) bool { return f.given.Changed(name) }

// value is the empty string for a flag that was not given.
func (f *kubeletFlags) value(name string) string { return f.given.Lookup(name).Value.String() }
