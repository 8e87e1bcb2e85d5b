// Package region is an AWS region on one machine: the fake APIs of test/cloud, a real S3 server, and for every instance
// that is launched a node: a directory, an address of its own, a metadata service, and the real agent.
//
// Instances get addresses of 127.0.0.0/8, all of which Linux answers on without configuration, so nothing here needs
// root. What Auto Scaling launches is booted, what is terminated ends, and a group replaces what it lost.
package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"rekindle/test/cloud"
	"rekindle/test/lab/image"
	"rekindle/test/lab/node"
	"rekindle/test/s3"
	"rekindle/test/vpc"
)

// Options say what region this is. Dir, Name, Binary and Standin are required.
type Options struct {
	Dir     string // absolute; holds the store and the instances' roots
	Name    string // such as cn-north-1
	Cluster string // that the groups are tagged with; default: demo
	// NodeProfile is the IAM role of all nodes but masters; default: NodeProfile.
	NodeProfile string
	Route53     bool
	// VPC has every instance in a network namespace of its own (test/vpc): it takes root, and vpc.Isolate. Without it instances
	// have addresses of 127.0.0.0/8.
	VPC     bool
	Binary  string // the agent
	Standin string // the stand-in for systemd's helpers
	// Config is laid over the image's layer of the configuration, for instance the store of the cluster.
	Config map[string]any
	// Bake changes a root before its first boot, as building an AMI does.
	Bake   func(root string) error
	Logger *slog.Logger // default: discard
}

// Region is running. Close ends all of it.
type Region struct {
	Cloud *cloud.Cloud
	S3    *s3.Server

	options Options
	net     network
	api     *cloud.Server
	keys    keys
	guard   *guard
	stop    context.CancelFunc
	ticking sync.WaitGroup

	mu      sync.Mutex
	nodes   map[string]*instance
	order   []string
	changed chan struct{} // closed and replaced when a node comes or goes
	errs    []error
	awaited []awaited // volumes for instances to come
	moved   int       // directories so far, for their names
}

// instance is a node and its metadata service.
type instance struct {
	*node.Node
	imds *cloud.Server
	net  *vpc.Host // nil: this machine's
	zone string

	// What follows is guarded by Region.mu.
	halted   bool     // stopped: it may start again
	diskless bool     // its disk goes with it
	keep     []string // etcd clusters whose volumes stay
	kept     []*Volume
}

// Start returns a region without instances.
func Start(ctx context.Context, o Options) (*Region, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Cluster == "" {
		o.Cluster = "demo"
	}
	if o.NodeProfile == "" {
		o.NodeProfile = NodeProfile
	}
	if !filepath.IsAbs(o.Dir) || o.Name == "" || o.Binary == "" || o.Standin == "" {
		return nil, errors.New("region: Options.Dir (absolute), Name, Binary and Standin are required")
	}
	if err := node.Adopt(); err != nil {
		return nil, fmt.Errorf("region: %w", err)
	}
	take := claim
	if o.VPC {
		take = private
	}
	network, listener, err := take(ctx)
	if err != nil {
		return nil, fmt.Errorf("region: %w", err)
	}
	guard, err := startGuard(o.Standin, o.Dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("region: %w", err), listener.Close(), network.close())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // Close ends it, not the caller's deadline
	r := &Region{options: o, net: network, guard: guard, stop: stop, nodes: map[string]*instance{}, changed: make(chan struct{})}
	r.Cloud = cloud.New(cloud.Options{
		Region: o.Name, Route53: o.Route53, VPCCIDR: network.cidr, Subnets: network.subnets(o.Name), Logger: o.Logger,
	})
	r.keys.cloud = r.Cloud
	r.Cloud.Subscribe(cloud.Subscriber{
		OnLaunch: r.launched, OnTerminate: r.terminated, OnStop: r.stopped, OnStart: r.started,
	})
	// Its port says that the network is taken: it goes last, when Close closes it.
	r.api = cloud.ServeOn(context.WithoutCancel(ctx), listener, r.Cloud.Handler())
	r.S3, err = s3.Start(ctx, s3.Options{
		Dir: filepath.Join(o.Dir, "s3"), Address: network.s3(), Region: o.Name, Identify: r.keys.identify,
	})
	if err != nil {
		stop()
		return nil, errors.Join(err, guard.Close(), r.api.Close(), network.close())
	}
	r.ticking.Go(func() { r.tick(running) })
	return r, nil
}

// tick lets the groups notice what they lost.
func (r *Region) tick(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
			r.Cloud.Tick()
		}
	}
}

// Close ends every process and server. The directory stays.
func (r *Region) Close() error {
	r.stop()
	r.ticking.Wait()
	r.Cloud.Settle()
	var errs []error
	for _, n := range r.all(true) {
		errs = append(errs, n.Destroy(), n.close())
	}
	return errors.Join(append(errs, r.S3.Close(), r.guard.Close(), r.api.Close(), r.net.close())...)
}

// launched turns an instance into a node. It runs on the cloud's goroutine.
func (r *Region) launched(i *cloud.Instance) {
	n, err := r.build(i)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("instance %s: %w", i.ID, err))
	} else {
		r.nodes[i.ID] = n
		r.order = append(r.order, i.ID)
	}
	r.tell()
}

// tell wakes whoever waits for nodes. The caller holds mu.
func (r *Region) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Region) build(i *cloud.Instance) (*instance, error) {
	root := filepath.Join(r.options.Dir, "nodes", i.ID, "root")
	config, err := r.imageConfig(i)
	if err != nil {
		return nil, err
	}
	err = image.Make(root, image.Options{
		Standin: r.options.Standin, Files: map[string]string{"/etc/rekindle/10-lab.yaml": config},
	})
	if err != nil {
		return nil, err
	}
	if r.options.Bake != nil {
		if err := r.options.Bake(root); err != nil {
			return nil, fmt.Errorf("bake: %w", err)
		}
	}
	if err := r.attachAwaited(i, root); err != nil {
		return nil, err
	}
	n := &instance{zone: i.Zone}
	if err := r.connect(n, i); err != nil {
		return nil, err
	}
	o := node.Options{
		ID:     i.ID,
		Root:   root,
		Log:    filepath.Join(r.options.Dir, "nodes", i.ID, "agent.log"),
		Binary: r.options.Binary,
		Args:   []string{"run", "--root", root, "--units", "process", "--log-format", "text"},
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=" + filepath.Join(root, "root"),
			"TMPDIR=" + os.TempDir(),
		},
	}
	if n.net != nil {
		o.Args = append([]string{"--net=" + n.net.Namespace(), "--", o.Binary}, o.Args...)
		o.Binary = "nsenter"
	}
	n.Node = node.New(o)
	if err := n.Start(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// connect gives an instance its network and its metadata.
func (r *Region) connect(n *instance, i *cloud.Instance) (err error) {
	ctx := context.Background()
	if r.net.vpc == nil {
		n.imds, err = r.Cloud.ServeIMDS(ctx, i.ID, imdsAddress(i.PrivateIP))
		return err
	}
	if n.net, err = r.net.vpc.Attach(i.PrivateIP); err != nil {
		return err
	}
	l, err := n.net.ListenIMDS(ctx)
	if err != nil {
		return errors.Join(err, n.net.Close())
	}
	n.imds = cloud.ServeOn(ctx, l, r.Cloud.IMDS(i.ID))
	return nil
}

// close takes an instance's metadata and network away.
func (n *instance) close() error {
	err := n.imds.Close()
	if n.net != nil {
		err = errors.Join(err, n.net.Close())
	}
	return err
}
