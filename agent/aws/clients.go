package aws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/smithy-go/middleware"

	"rekindle/agent/status"
)

const (
	maxAttempts = 8                // of one call, unless AWS_MAX_ATTEMPTS says otherwise
	maxBackoff  = 10 * time.Second // between attempts; each pause is jittered from zero to it
)

// Options say where the node is and how AWS is reached from there.
type Options struct {
	// Region is required. On a node it comes from IMDS (facts.Instance), as do Partition and DNSSuffix.
	Region string
	// Partition is kept for those who make ARNs.
	Partition string
	// DNSSuffix is the domain of the services ("amazonaws.com.cn"). When it differs from what the SDK knows for the
	// region, it wins. Empty: the SDK's.
	DNSSuffix string
	// Endpoints replace the URL of a service: s3, ec2, autoscaling, sts, ssm, kms, route53. They win over everything.
	Endpoints map[string]string
	// PathStyle puts the bucket into the path and not into the host name.
	PathStyle bool
	// IMDS serves the role's credentials when neither the environment nor a shared configuration has any.
	// Nil: one with a short time-out, for a laptop.
	IMDS *IMDS
	// UserAgent is sent with every request, as "name/version".
	UserAgent string
	// Transport replaces the connections of all services. For tests.
	Transport http.RoundTripper
	Logger    *slog.Logger
}

// Clients makes clients on demand: a service that is not asked for costs neither memory nor a request. It is safe for
// concurrent use.
type Clients struct {
	opts     Options
	cfg      aws.Config
	imds     *IMDS
	plain    *http.Client
	domain   string // replaces the SDK's endpoints; empty: it need not
	services services

	mu       sync.Mutex
	requests map[string]int
}

// New reads the environment and the shared configuration, but makes no request. Proxies (HTTPS_PROXY), FIPS and
// dual-stack endpoints (AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT) and AWS_MAX_ATTEMPTS are honoured.
func New(ctx context.Context, o Options) (*Clients, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Clients{opts: o, imds: o.IMDS, requests: map[string]int{}}
	if c.imds == nil {
		c.imds = NewIMDS(IMDSOptions{Endpoint: o.Endpoints["imds"], Timeout: 2 * time.Second, Logger: o.Logger})
	}
	var client aws.HTTPClient = newHTTPClient(readTimeout)
	if o.Transport != nil {
		client = &http.Client{Transport: o.Transport, CheckRedirect: noRedirect}
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(client),
		config.WithEC2RoleCredentialOptions(func(r *ec2rolecreds.Options) { r.Client = c.imds }),
		config.WithAPIOptions([]func(*middleware.Stack) error{c.count}),
	)
	if err != nil {
		return nil, fmt.Errorf("aws: %w", status.Fail(status.ReasonCredentials,
			"correct the AWS_* variables or the shared configuration of the agent's unit", err))
	}
	c.plain = &http.Client{Transport: transportOf(cfg.HTTPClient), CheckRedirect: noRedirect}
	cfg.HTTPClient = plainBodies{cfg.HTTPClient} // not before: AWS_CA_BUNDLE wants the SDK's own type
	if o.Region != "" {
		cfg.Region = o.Region
	}
	if cfg.Region == "" {
		return nil, fmt.Errorf("aws: %w", status.Fail(status.ReasonConfigInvalid,
			"set AWS_REGION, or --region where there is one; on EC2 it comes from IMDS", errors.New("no region is known")))
	}
	cfg.Retryer = retryer(cfg.RetryMaxAttempts)
	cfg.Credentials = explained{cfg.Credentials}
	if name, version, ok := strings.Cut(o.UserAgent, "/"); ok {
		cfg.APIOptions = append(cfg.APIOptions, awsmiddleware.AddUserAgentKeyValue(name, version))
	}
	c.cfg = cfg
	if c.domain, err = unknownDomain(ctx, cfg.Region, o.DNSSuffix); err != nil {
		return nil, err
	}
	if c.domain != "" {
		o.Logger.Warn("the SDK knows another domain for this region; IMDS wins", "region", cfg.Region, "domain", c.domain)
	}
	return c, nil
}

// noRedirect does as the SDK's own client: S3 answers 301 for a bucket of another region, and the body says why.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// retryer is the SDK's standard mode without its token bucket: at boot a service that comes back after a minute is to
// be found, and the caller's deadline bounds the rest.
func retryer(attempts int) func() aws.Retryer {
	if attempts <= 0 {
		attempts = maxAttempts
	}
	return func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = attempts
			o.MaxBackoff = maxBackoff
			o.RateLimiter = ratelimit.None
		})
	}
}

// Region is where the clients work.
func (c *Clients) Region() string { return c.cfg.Region }

// Partition is Options.Partition: what the second field of an ARN is here.
func (c *Clients) Partition() string { return c.opts.Partition }

// Credentials are those of all clients, for whoever signs by himself.
func (c *Clients) Credentials() aws.CredentialsProvider { return c.cfg.Credentials }

// HTTPClient reaches what the services reach: with their proxies, authorities and limits. It follows no redirect, signs
// nothing, and is not counted in Requests.
func (c *Clients) HTTPClient() *http.Client { return c.plain }

// Requests counts the HTTP requests so far by service ("ec2", "s3", "imds", ...), retries included.
func (c *Clients) Requests() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := maps.Clone(c.requests)
	if n := c.imds.Requests(); n > 0 {
		counts["imds"] = n
	}
	return counts
}

// count adds up what leaves the machine: it stands behind the retries.
func (c *Clients) count(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("rekindle/count", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		c.mu.Lock()
		c.requests[serviceName(awsmiddleware.GetServiceID(ctx))]++
		c.mu.Unlock()
		return next.HandleDeserialize(ctx, in)
	}), middleware.After)
}

// explained gives a failure to find credentials its reason.
type explained struct{ aws.CredentialsProvider }

// Retrieve implements aws.CredentialsProvider.
func (e explained) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := e.CredentialsProvider.Retrieve(ctx)
	return credentials, explainCredentials(err)
}
