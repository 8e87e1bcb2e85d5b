//go:build fleet

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"rekindle/test/cloud"
	"rekindle/test/lab/keyspace"
	lab "rekindle/test/lab/region"
	"rekindle/test/machine/nspawn"
	"rekindle/test/s3"
	"rekindle/test/vpc"
)

// The network: imageYAML has these addresses as well.
var (
	cidr      = netip.MustParsePrefix("10.61.0.0/16")
	s3Address = netip.MustParseAddr("10.61.0.2")
)

const (
	apiPort = "4566"
	s3Port  = "7070"
	bucket  = "rekindle-fleet"
	store   = "s3://" + bucket
)

// region is an AWS region whose instances are machines: what is launched boots, what is terminated loses its power.
type region struct {
	cloud *cloud.Cloud
	s3    *s3.Server
	net   *vpc.VPC
	api   *cloud.Server
	dir   string
	stop  context.CancelFunc
	ticks sync.WaitGroup

	mu       sync.Mutex
	machines map[string]*machine // those that are there
	errs     []error             // of making and ending machines
}

// openRegion makes a region without instances, and a store with what the image was made of.
func openRegion(ctx context.Context, dir string) (*region, error) {
	net, err := vpc.New(cidr, s3Address)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	r := &region{net: net, dir: dir, stop: stop, machines: map[string]*machine{}}
	r.cloud = cloud.New(cloud.Options{Region: "cn-north-1", VPCCIDR: cidr, Subnets: subnets()})
	r.cloud.Subscribe(cloud.Subscriber{OnLaunch: r.launched, OnTerminate: r.terminated})
	if r.api, err = r.cloud.ServeAPI(ctx, net.Gateway().String()+":"+apiPort); err != nil {
		return nil, err
	}
	r.s3, err = s3.Start(ctx, s3.Options{
		Dir: filepath.Join(dir, "s3"), Address: s3Address.String() + ":" + s3Port, Region: r.cloud.Region(), Identify: r.identify,
	})
	if err != nil {
		return nil, err
	}
	r.ticks.Go(func() {
		for ctx.Err() == nil {
			r.cloud.Tick() // groups notice what they lost
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return r, r.publish(ctx)
}

// subnets are one in each of three zones.
func subnets() (all []cloud.Subnet) {
	for i, zone := range []string{"a", "b", "c"} {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 61, byte(16 * i), 0}), 20)
		all = append(all, cloud.Subnet{Zone: "cn-north-1" + zone, CIDR: prefix})
	}
	return all
}

func (r *region) arn(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s::%s:%s", r.cloud.Partition(), service, r.cloud.AccountID(), resource)
}

// identify tells S3 who holds a key: the administrator, or an instance, whose role it then has.
func (r *region) identify(key string) (s3.Identity, bool) {
	if admin := r.cloud.AdminCredentials(); key == admin.AccessKeyID {
		return s3.Identity{SecretKey: admin.SecretAccessKey, ARN: r.arn("iam", "user/admin"), Admin: true}, true
	}
	for _, i := range r.cloud.Instances() {
		if c := r.cloud.Credentials(i.ID); c.AccessKeyID == key {
			return s3.Identity{
				SecretKey: c.SecretAccessKey, Token: c.SessionToken, Expires: c.Expiration,
				ARN: r.arn("sts", "assumed-role/"+i.Role+"/"+i.ID), RoleARN: r.arn("iam", "role/"+i.Role),
			}, true
		}
	}
	return s3.Identity{}, false
}

// publish makes the bucket, lets the two profiles use it as a cluster needs, and fills it.
func (r *region) publish(ctx context.Context) error {
	if err := r.s3.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	master := []string{r.arn("iam", "role/"+lab.MasterProfile)}
	both := append(master, r.arn("iam", "role/"+lab.NodeProfile))
	err := r.s3.SetPolicy(ctx, bucket,
		s3.Statement{Principals: both, Actions: []string{"s3:ListBucket"}, Resources: []string{""}},
		s3.Statement{Principals: master, Actions: []string{"s3:ListBucketVersions"}, Resources: []string{""}},
		s3.Statement{Principals: both, Actions: []string{"s3:GetObject"}, Resources: []string{
			"cluster.yaml", "manifest.json", "manifest.minisig", "objects/*", "roles/*", "pki/public/*", "discovery/*"}},
		s3.Statement{Principals: both, Actions: []string{"s3:GetObject", "s3:PutObject"}, Resources: []string{"nodes/*"}},
		s3.Statement{Principals: master, Actions: []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}, Resources: []string{"*"}},
	)
	if err != nil {
		return err
	}
	admin := r.cloud.AdminCredentials()
	publish := exec.CommandContext(ctx, *binary, "publish", assetsDir(r.dir), store, "--region", r.cloud.Region(), "--endpoint", r.s3.URL(), "--path-style")
	publish.Env = []string{"AWS_ACCESS_KEY_ID=" + admin.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + admin.SecretAccessKey, "AWS_EC2_METADATA_DISABLED=true"}
	if out, err := publish.CombinedOutput(); err != nil {
		return fmt.Errorf("rekindle publish: %w\n%s", err, out)
	}
	return nil
}

// etcd looks into the cluster's etcd.
func (r *region) etcd() *keyspace.Cluster {
	return &keyspace.Cluster{Region: &lab.Region{Cloud: r.cloud, S3: r.s3}, Store: store, Name: "main"}
}

// group makes an Auto Scaling group, whose name is the role.
func (r *region) group(role, profile string, desired int) error {
	return r.cloud.CreateGroup(cloud.GroupSpec{
		Name: role, Desired: desired,
		Tags: map[string]string{"rekindle:role": role, "rekindle:cluster": "demo"},
		Template: cloud.InstanceSpec{
			Type: "m5.large", Role: profile, UserData: []byte("store: " + store + "\n"), Metadata: cloud.MetadataOptions{Tags: true},
		},
	})
}

// launched makes a machine of an instance. It runs on the cloud's goroutine, as does the next.
func (r *region) launched(i *cloud.Instance) {
	m, err := r.newMachine(i)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", i.ID, err))
		return
	}
	r.machines[i.ID] = m
}

// terminated takes an instance's power, network and disk.
func (r *region) terminated(i *cloud.Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.machines[i.ID]; m != nil {
		delete(r.machines, i.ID)
		r.errs = append(r.errs, m.end())
	}
}

func (r *region) newMachine(i *cloud.Instance) (m *machine, err error) {
	m = &machine{Instance: i, booted: make(chan struct{})}
	if m.net, err = r.net.Attach(i.PrivateIP); err != nil {
		return nil, err
	}
	l, err := m.net.ListenIMDS(context.Background())
	if err != nil {
		return nil, errors.Join(err, m.net.Close())
	}
	m.imds = cloud.ServeOn(context.Background(), l, r.cloud.IMDS(i.ID))
	m.dir = filepath.Join(r.dir, "machines", i.ID)
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return nil, err
	}
	m.Machine, err = nspawn.New(nspawn.Options{
		Name: i.ID, Base: imageLayer(r.dir) + ":" + filepath.Join(baseDir, "bookworm"), Dir: m.dir, Namespace: m.net.Namespace(),
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go func() {
		m.bootErr = m.Boot(ctx)
		close(m.booted)
	}()
	return m, nil
}

// close ends everything.
func (r *region) close() error {
	r.stop()
	r.ticks.Wait()
	r.cloud.Settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	errs := r.errs
	for _, m := range r.machines {
		errs = append(errs, m.end())
	}
	return errors.Join(append(errs, r.s3.Close(), r.api.Close(), r.net.Close())...)
}
