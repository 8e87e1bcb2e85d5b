// Package site is a region in which a test starts and kills the agents itself: the APIs of test/cloud and a bucket of a
// real S3 server behind a [Link] that can be cut. A launched [Machine] has a disk, an address and, once the test serves
// it, metadata; nothing runs there until the test starts it. (Package lab/region boots whatever is launched.)
package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"rekindle/test/cloud"
	"rekindle/test/s3"
)

// Role is the instance profile of the machines: it may use the site's bucket, unless a test says otherwise.
const Role = "rekindle-node"

// The ports of a site. Every machine has an address of its own in 127.0.0.0/8, so the ports are those of a real node.
const (
	apiPort  = 4566
	imdsPort = 1338 // 80 needs root
)

// Options say what site this is. Region, Dir and Programs are required.
type Options struct {
	Region   string
	Dir      string // absolute; holds the machines' disks
	Programs Programs
	Stores   *Stores // nil: no S3
}

// Site is one region of one test. Close ends what runs there.
type Site struct {
	Cloud  *cloud.Cloud
	API    *cloud.Server
	Bucket string // of its own; empty without S3
	S3     *Link  // on the way to the S3 server; nil without

	options Options
	network netip.Prefix

	mu       sync.Mutex
	machines []*Machine
}

// Open returns an empty region with an empty bucket.
func Open(ctx context.Context, o Options) (_ *Site, err error) {
	if o.Region == "" || !filepath.IsAbs(o.Dir) {
		return nil, errors.New("site: Options.Region and Dir (absolute) are required")
	}
	network, listener, err := claim(ctx)
	if err != nil {
		return nil, err
	}
	s := &Site{options: o, network: network}
	base := network.Addr().As4()
	base[2] = 16 // the first addresses are AWS's, and the API is there
	s.Cloud = cloud.New(cloud.Options{Region: o.Region, VPCCIDR: network, Subnets: []cloud.Subnet{
		{Zone: o.Region + "a", CIDR: netip.PrefixFrom(netip.AddrFrom4(base), 20)},
	}})
	s.API = cloud.ServeOn(context.WithoutCancel(ctx), listener, s.Cloud.Handler())
	if o.Stores == nil {
		return s, nil
	}
	if s.Bucket, err = o.Stores.open(ctx, s.Cloud); err == nil {
		s.S3, err = NewLink(ctx, o.Stores.Address())
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// claim finds a /16 that no other test on this machine uses: who listens on its API port owns it.
func claim(ctx context.Context) (netip.Prefix, net.Listener, error) {
	var last error
	for second := byte(16); second < 60; second++ {
		address := netip.AddrFrom4([4]byte{127, second, 0, 1})
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(address, apiPort).String())
		if err == nil {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, second, 0, 0}), 16), l, nil
		}
		last = err
	}
	return netip.Prefix{}, nil, fmt.Errorf("site: no free network in 127.0.0.0/8: %w", last)
}

// Close ends every machine and server of the site. The disks stay.
func (s *Site) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, m := range s.machines {
		errs = append(errs, m.Destroy(), m.hideMetadata())
	}
	if s.S3 != nil {
		errs = append(errs, s.S3.Close())
	}
	return errors.Join(append(errs, s.API.Close())...)
}

// Store is the place of a store in the site's bucket.
func (s *Site) Store() string { return "s3://" + s.Bucket + "/store" }

// Endpoint is where the machines find S3.
func (s *Site) Endpoint() string { return "http://" + s.S3.Address() }

// Publisher is the environment of an operator with administrator's keys.
func (s *Site) Publisher() []string {
	admin := s.Cloud.AdminCredentials()
	return []string{
		"AWS_ACCESS_KEY_ID=" + admin.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + admin.SecretAccessKey,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_REGION=" + s.options.Region, "PATH=" + os.Getenv("PATH"), Quick,
	}
}

// Publish runs `rekindle publish` past the link, so that a cut link does not concern it.
func (s *Site) Publish(ctx context.Context, dir, store string, flags ...string) (said string, err error) {
	args := append([]string{"publish", dir, store, "--endpoint", s.options.Stores.URL(), "--path-style"}, flags...)
	cmd := exec.CommandContext(ctx, s.options.Programs.Rekindle, args...)
	cmd.Env = s.Publisher()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("rekindle publish: %w\n%s", err, out)
	}
	return string(out), nil
}

// Read is an object of the store, read as its administrator.
func (s *Site) Read(ctx context.Context, path string) ([]byte, error) {
	key := "store/" + path
	out, err := s.options.Stores.Client().GetObject(ctx, &awss3.GetObjectInput{Bucket: &s.Bucket, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

// Write puts an object into the store as its administrator.
func (s *Site) Write(ctx context.Context, path string, data []byte) error {
	key := "store/" + path
	_, err := s.options.Stores.Client().PutObject(ctx, &awss3.PutObjectInput{Bucket: &s.Bucket, Key: &key, Body: bytes.NewReader(data)})
	if err != nil {
		return fmt.Errorf("store: %s: %w", path, err)
	}
	return nil
}

// Allow replaces the policy of the bucket: what machines may do with the objects of the store. None denies all.
func (s *Site) Allow(ctx context.Context, actions ...string) error {
	return s.options.Stores.allow(ctx, s.Cloud, s.Bucket, actions)
}

// Requests are those that reached the S3 server for this site's bucket.
func (s *Site) Requests() []s3.Request { return s.options.Stores.requests(s.Bucket) }
