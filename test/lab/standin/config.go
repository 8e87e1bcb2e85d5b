package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"rekindle/test/lab/standin/root"
)

// config is the part of containerd's configuration, version 3, that nodes have a reason to set. A key that is not here
// is an error: the real containerd ignores what it does not know, and a misspelt key then goes unseen.
type config struct {
	Version         int            `toml:"version"`
	Root            string         `toml:"root"`
	State           string         `toml:"state"`
	Temp            string         `toml:"temp"`
	DisabledPlugins []string       `toml:"disabled_plugins"`
	RequiredPlugins []string       `toml:"required_plugins"`
	OOMScore        int            `toml:"oom_score"`
	Imports         []string       `toml:"imports"`
	GRPC            grpc           `toml:"grpc"`
	Debug           debug          `toml:"debug"`
	Metrics         metrics        `toml:"metrics"`
	Cgroup          map[string]any `toml:"cgroup"`
	Timeouts        map[string]any `toml:"timeouts"`
	Plugins         plugins        `toml:"plugins"`
}

type grpc struct {
	Address        string `toml:"address"`
	UID            int    `toml:"uid"`
	GID            int    `toml:"gid"`
	MaxRecvMsgSize int    `toml:"max_recv_message_size"`
	MaxSendMsgSize int    `toml:"max_send_message_size"`
}

type debug struct {
	Address string `toml:"address"`
	Level   string `toml:"level"`
	Format  string `toml:"format"`
	UID     int    `toml:"uid"`
	GID     int    `toml:"gid"`
}

type metrics struct {
	Address       string `toml:"address"`
	GRPCHistogram bool   `toml:"grpc_histogram"`
}

type plugins struct {
	Images      images         `toml:"io.containerd.cri.v1.images"`
	Runtime     runtime        `toml:"io.containerd.cri.v1.runtime"`
	CRI         cri            `toml:"io.containerd.grpc.v1.cri"`
	GC          map[string]any `toml:"io.containerd.gc.v1.scheduler"`
	Overlayfs   map[string]any `toml:"io.containerd.snapshotter.v1.overlayfs"`
	Tasks       map[string]any `toml:"io.containerd.runtime.v2.task"`
	NRI         map[string]any `toml:"io.containerd.nri.v1.nri"`
	OpenTracing map[string]any `toml:"io.containerd.tracing.processor.v1.otlp"`
}

type images struct {
	Snapshotter                string            `toml:"snapshotter"`
	DisableSnapshotAnnotations bool              `toml:"disable_snapshot_annotations"`
	DiscardUnpackedLayers      bool              `toml:"discard_unpacked_layers"`
	MaxConcurrentDownloads     int               `toml:"max_concurrent_downloads"`
	ConcurrentLayerFetchBuffer int               `toml:"concurrent_layer_fetch_buffer"`
	ImagePullProgressTimeout   string            `toml:"image_pull_progress_timeout"`
	ImagePullWithSyncFS        bool              `toml:"image_pull_with_sync_fs"`
	StatsCollectPeriod         int               `toml:"stats_collect_period"`
	UseLocalImagePull          bool              `toml:"use_local_image_pull"`
	PinnedImages               map[string]string `toml:"pinned_images"`
	Registry                   registry          `toml:"registry"`
	ImageDecryption            map[string]any    `toml:"image_decryption"`
	RuntimePlatforms           map[string]any    `toml:"runtime_platforms"`
}

type registry struct {
	ConfigPath string         `toml:"config_path"`
	Headers    map[string]any `toml:"headers"`
}

type runtime struct {
	EnableSelinux               bool        `toml:"enable_selinux"`
	MaxContainerLogLineSize     int         `toml:"max_container_log_line_size"`
	DisableApparmor             bool        `toml:"disable_apparmor"`
	RestrictOOMScoreAdj         bool        `toml:"restrict_oom_score_adj"`
	DisableProcMount            bool        `toml:"disable_proc_mount"`
	UnsetSeccompProfile         string      `toml:"unset_seccomp_profile"`
	TolerateMissingHugetlb      bool        `toml:"tolerate_missing_hugetlb_controller"`
	DisableHugetlb              bool        `toml:"disable_hugetlb_controller"`
	DeviceOwnershipFromSecurity bool        `toml:"device_ownership_from_security_context"`
	IgnoreImageDefinedVolumes   bool        `toml:"ignore_image_defined_volumes"`
	NetNSMountsUnderStateDir    bool        `toml:"netns_mounts_under_state_dir"`
	EnableUnprivilegedPorts     bool        `toml:"enable_unprivileged_ports"`
	EnableUnprivilegedICMP      bool        `toml:"enable_unprivileged_icmp"`
	EnableCDI                   bool        `toml:"enable_cdi"`
	CDISpecDirs                 []string    `toml:"cdi_spec_dirs"`
	DrainExecSyncIOTimeout      string      `toml:"drain_exec_sync_io_timeout"`
	IgnoreDeprecationWarnings   []string    `toml:"ignore_deprecation_warnings"`
	CgroupWritable              bool        `toml:"cgroup_writable"`
	Containerd                  runtimeSets `toml:"containerd"`
	CNI                         cniConfig   `toml:"cni"`
}

type runtimeSets struct {
	DefaultRuntimeName        string                    `toml:"default_runtime_name"`
	IgnoreBlockIONotEnabled   bool                      `toml:"ignore_blockio_not_enabled_errors"`
	IgnoreRDTNotEnabledErrors bool                      `toml:"ignore_rdt_not_enabled_errors"`
	Runtimes                  map[string]runtimeHandler `toml:"runtimes"`
}

type runtimeHandler struct {
	RuntimeType                  string         `toml:"runtime_type"`
	RuntimePath                  string         `toml:"runtime_path"`
	PodAnnotations               []string       `toml:"pod_annotations"`
	ContainerAnnotations         []string       `toml:"container_annotations"`
	PrivilegedWithoutHostDevices bool           `toml:"privileged_without_host_devices"`
	CgroupWritable               bool           `toml:"cgroup_writable"`
	BaseRuntimeSpec              string         `toml:"base_runtime_spec"`
	CNIConfDir                   string         `toml:"cni_conf_dir"`
	CNIMaxConfNum                int            `toml:"cni_max_conf_num"`
	Snapshotter                  string         `toml:"snapshotter"`
	Sandboxer                    string         `toml:"sandboxer"`
	IOType                       string         `toml:"io_type"`
	Options                      runtimeOptions `toml:"options"`
}

type runtimeOptions struct {
	BinaryName    string `toml:"BinaryName"`
	CriuImagePath string `toml:"CriuImagePath"`
	CriuWorkPath  string `toml:"CriuWorkPath"`
	IoGID         int    `toml:"IoGid"`
	IoUID         int    `toml:"IoUid"`
	NoNewKeyring  bool   `toml:"NoNewKeyring"`
	Root          string `toml:"Root"`
	ShimCgroup    string `toml:"ShimCgroup"`
	SystemdCgroup bool   `toml:"SystemdCgroup"`
}

type cniConfig struct {
	BinDir              string   `toml:"bin_dir"`
	BinDirs             []string `toml:"bin_dirs"`
	ConfDir             string   `toml:"conf_dir"`
	MaxConfNum          int      `toml:"max_conf_num"`
	SetupSerially       bool     `toml:"setup_serially"`
	ConfTemplate        string   `toml:"conf_template"`
	IPPreference        string   `toml:"ip_pref"`
	UseInternalLoopback bool     `toml:"use_internal_loopback"`
}

type cri struct {
	DisableTCPService   bool           `toml:"disable_tcp_service"`
	StreamServerAddress string         `toml:"stream_server_address"`
	StreamServerPort    string         `toml:"stream_server_port"`
	StreamIdleTimeout   string         `toml:"stream_idle_timeout"`
	EnableTLSStreaming  bool           `toml:"enable_tls_streaming"`
	X509KeyPair         map[string]any `toml:"x509_key_pair_streaming"`
}

func readConfig(path string) (*config, error) {
	var c config
	if err := decode(path, &c); err != nil {
		return nil, err
	}
	if c.Version != 3 {
		return nil, fmt.Errorf("version = %d: containerd 2 reads 3 (an older one is migrated, and nobody sees to what)", c.Version)
	}
	runtimes := c.Plugins.Runtime.Containerd
	for name, r := range runtimes.Runtimes {
		if r.RuntimeType == "" {
			return nil, fmt.Errorf("runtime %s: no runtime_type", name)
		}
		if binary := r.Options.BinaryName; filepath.IsAbs(binary) {
			if _, err := os.Stat(root.Path(binary)); err != nil {
				return nil, fmt.Errorf("runtime %s: BinaryName: %w", name, err)
			}
		}
	}
	if name := runtimes.DefaultRuntimeName; name != "" && name != "runc" && runtimes.Runtimes[name].RuntimeType == "" {
		return nil, fmt.Errorf("default_runtime_name %q: no such runtime", name)
	}
	for _, glob := range c.Imports {
		matches, err := filepath.Glob(root.Path(glob))
		if err != nil {
			return nil, fmt.Errorf("imports %s: %w", glob, err)
		}
		for _, m := range matches {
			if err := decode(m, new(config)); err != nil {
				return nil, fmt.Errorf("%s: %w", m, err)
			}
		}
	}
	return &c, nil
}

// decode is strict, and says in which line what is unknown.
func decode(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = toml.NewDecoder(f).DisallowUnknownFields().Decode(into)
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		return errors.New(strict.String())
	}
	return err
}

func (c *config) summary() string {
	names := []string{}
	for name, r := range c.Plugins.Runtime.Containerd.Runtimes {
		names = append(names, fmt.Sprintf("%s (systemd cgroup: %t)", name, r.Options.SystemdCgroup))
	}
	slices.Sort(names)
	return fmt.Sprintf("sandbox image %q, runtimes %s", c.Plugins.Images.PinnedImages["sandbox"], strings.Join(names, ", "))
}

// hosts is a registry's hosts.toml.
type hosts struct {
	Server string          `toml:"server"`
	Host   map[string]host `toml:"host"`
	host
}

type host struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`     // a path or a list of paths
	Client       any            `toml:"client"` // a path, a list, or a list of pairs
	SkipVerify   bool           `toml:"skip_verify"`
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
	Header       map[string]any `toml:"header"`
}

func checkHosts(path string) error {
	var h hosts
	if err := decode(path, &h); err != nil {
		return err
	}
	if h.Server != "" {
		if err := checkURL(h.Server); err != nil {
			return fmt.Errorf("server: %w", err)
		}
	}
	for name, m := range h.Host {
		if err := checkURL(name); err != nil {
			return fmt.Errorf("host: %w", err)
		}
		for _, c := range m.Capabilities {
			if !slices.Contains([]string{"pull", "resolve", "push"}, c) {
				return fmt.Errorf("host %s: capability %q", name, c)
			}
		}
		if ca, ok := m.CA.(string); ok {
			if _, err := os.Stat(root.Path(ca)); err != nil {
				return fmt.Errorf("host %s: ca: %w", name, err)
			}
		}
	}
	return nil
}

// checkURL accepts what containerd does: a host, or a URL with http or https.
func checkURL(text string) error {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is no registry", text)
	}
	return nil
}
