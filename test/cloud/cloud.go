// Package cloud is a fake AWS region: EC2, Auto Scaling, STS, SSM Parameter Store, KMS, Route 53 and one instance
// metadata service per instance. It speaks the wire protocols, so the agent's real SDK clients talk to it, signatures included.
//
// A [Cloud] is state in memory. [Cloud.Handler] is the region's API endpoint, [Cloud.IMDS] is what one instance finds
// at 169.254.169.254, [Cloud.Subscribe] tells a lab which instances to turn into processes, [Cloud.Faults] makes any
// of it misbehave, and [Cloud.Requests] is what was asked, by whom.
//
// S3 is not here: the tests use versitygw.
//
// To add an operation: write a func(*call) (any, error) in the file of its service that returns a struct with the
// wire's XML or JSON names, enter it in that file's table, and drive it from the real SDK client in a test. Operations
// run one at a time, with the state locked, and their replies are encoded before it is unlocked. Errors are *Error
// values with AWS's own code; their shape on the wire is the protocol's affair (protocol.go).
//
// To add a fault: add an [Effect] in faults.go and apply it in gate (connection, status), page (listings) or where the
// state is read (delayOf).
package cloud

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Options say what region this is. Region is required; nothing defaults to a region or a partition of AWS's choice.
type Options struct {
	Region    string
	Partition string // default: the partition that the region's name belongs to
	AccountID string // default 123456789012

	// Subnets in which instances are placed. Default: one /20 of 10.20.0.0/16 in each of three zones. A lab that
	// runs nodes on loopback addresses gives a prefix of 127.0.0.0/8.
	Subnets []Subnet
	VPCCIDR netip.Prefix // default 10.20.0.0/16

	// Route53 says whether this partition has Route 53 within reach. Without it connections that ask for it are
	// reset; to have it answer 403 set it and add Fault{Service: "route53", Do: Deny}.
	Route53 bool
	// ChangeDelay is how long a Route 53 change stays PENDING.
	ChangeDelay time.Duration
	// ShutdownTime is how long an instance is shutting-down or stopping.
	ShutdownTime time.Duration
	// ForgetAfter is how long a terminated instance is still described. Default one hour.
	ForgetAfter time.Duration
	// CredentialTTL is the life of role credentials from IMDS. Default six hours; they rotate ten minutes early.
	CredentialTTL time.Duration

	// Clock is the time of the cloud. Default time.Now. A clock that is set turns the check of a signature's age
	// off: clients sign with their own.
	Clock  func() time.Time
	Logger *slog.Logger // default: discard
	Seed   uint64       // of identifiers, addresses and the probability of faults
}

// Cloud is one region of one account. Its methods may be called at any time from any goroutine, hooks included.
type Cloud struct {
	opts      Options
	partition partition
	now       func() time.Time
	log       *slog.Logger
	checkTime bool
	faults    *Faults
	requests  recorder
	events    dispatcher

	mu        sync.Mutex // guards all that follows, and the mutable half of Instance
	rand      *rand.Rand
	instances map[string]*Instance
	order     []string // instance ids by launch
	subnets   []Subnet
	zones     []string
	tags      map[string]map[string]string // resource id -> tags
	volumes   map[string]*Volume
	addresses map[string]*Address
	groups    map[string]*group
	params    map[string]*parameter
	dns       map[string]*hostedZone
	changes   map[string]time.Time
	keys      map[string]*principal // access key id -> who holds it
	kms       map[string]*Key       // by id
	aliases   map[string]*Key       // by alias/NAME
	admin     Credentials
}

// New makes an empty region. It panics when Options.Region is empty, since no test wants the wrong one.
func New(o Options) *Cloud {
	if o.Region == "" {
		panic("cloud.New: Options.Region is required")
	}
	if o.Partition == "" {
		o.Partition = partitionOf(o.Region)
	}
	p, ok := partitions[o.Partition]
	if !ok {
		panic("cloud.New: unknown partition " + o.Partition)
	}
	c := &Cloud{
		partition: p,
		now:       o.Clock,
		log:       o.Logger,
		checkTime: o.Clock == nil,
		faults:    newFaults(o.Seed),
		rand:      rand.New(rand.NewPCG(o.Seed, 1)),
		instances: map[string]*Instance{},
		tags:      map[string]map[string]string{},
		volumes:   map[string]*Volume{},
		addresses: map[string]*Address{},
		groups:    map[string]*group{},
		params:    map[string]*parameter{},
		dns:       map[string]*hostedZone{},
		changes:   map[string]time.Time{},
		keys:      map[string]*principal{},
		kms:       map[string]*Key{},
		aliases:   map[string]*Key{},
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.AccountID == "" {
		o.AccountID = "123456789012"
	}
	if o.ForgetAfter == 0 {
		o.ForgetAfter = time.Hour
	}
	if o.CredentialTTL == 0 {
		o.CredentialTTL = 6 * time.Hour
	}
	if !o.VPCCIDR.IsValid() {
		o.VPCCIDR = netip.MustParsePrefix("10.20.0.0/16")
	}
	c.opts = o
	c.faults.now = c.now
	c.layNetwork()
	c.admin = c.newKey("AKIA", &principal{arn: c.arn("iam", "", "user/admin"), userID: "AIDAADMIN", account: c.opts.AccountID}, time.Time{})
	return c
}

// Region is the region's name, such as cn-north-1.
func (c *Cloud) Region() string { return c.opts.Region }

// Partition is aws, aws-cn or aws-us-gov.
func (c *Cloud) Partition() string { return c.opts.Partition }

// AccountID has twelve digits.
func (c *Cloud) AccountID() string { return c.opts.AccountID }

// Faults is where misbehaviour is configured; it can change while clients are connected.
func (c *Cloud) Faults() *Faults { return c.faults }

func (c *Cloud) arn(service, region, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", c.opts.Partition, service, region, c.opts.AccountID, resource)
}

// id makes an identifier such as i-0123456789abcdef0.
func (c *Cloud) id(prefix string) string {
	return fmt.Sprintf("%s-0%016x", prefix, c.rand.Uint64())
}

// tick lets time pass: instances that shut down end, lifecycle waits run out, groups make up for what is missing.
// Everything that reads the state calls it first, so no goroutine is needed and a test's clock decides.
func (c *Cloud) tick() {
	c.ageInstances()
	c.reconcileGroups()
}

// Tick lets time pass for a lab that nobody asks anything: deadlines of lifecycle hooks are acted upon.
func (c *Cloud) Tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick()
}
