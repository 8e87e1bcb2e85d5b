package aws

import (
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// services are the clients made so far.
//
// They are made without generics, and whoever needs one behind an interface wraps the method that it needs in a func:
// text/template makes the linker keep every exported method of every type that reflection can reach, and the EC2 client
// alone has 20 MB of them.
type services struct {
	mu          sync.Mutex
	s3          map[string]*s3.Client // by region
	ec2         *ec2.Client
	ssm         *ssm.Client
	kms         *kms.Client
	sts         *sts.Client
	autoscaling *autoscaling.Client
	route53     *route53.Client
}

// S3 is a client for buckets in the given region; empty is the node's own.
//
// With an endpoint of the operator's own the SDK's checksums are sent only where the caller asks for one: several
// S3-compatible stores refuse the trailers that the SDK adds by default.
func (c *Clients) S3(region string) *s3.Client {
	if region == "" {
		region = c.cfg.Region
	}
	s := &c.services
	s.mu.Lock()
	defer s.mu.Unlock()
	if client, ok := s.s3[region]; ok {
		return client
	}
	client := s3.NewFromConfig(c.cfg, func(o *s3.Options) {
		o.Region = region
		o.UsePathStyle = c.opts.PathStyle
		o.DisableLogOutputChecksumValidationSkipped = true
		if c.opts.Endpoints["s3"] != "" {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
		if url := c.endpoint("s3"); url != nil {
			o.BaseEndpoint = url
			o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled // the URL says it all
			o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
		}
	})
	if s.s3 == nil {
		s.s3 = map[string]*s3.Client{}
	}
	s.s3[region] = client
	return client
}

// EC2 is the client of EC2.
func (c *Clients) EC2() *ec2.Client {
	s := &c.services
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ec2 == nil {
		s.ec2 = ec2.NewFromConfig(c.cfg, func(o *ec2.Options) {
			if url := c.endpoint("ec2"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	}
	return s.ec2
}

// SSM is the client of Systems Manager's parameters.
func (c *Clients) SSM() *ssm.Client {
	s := &c.services
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ssm == nil {
		s.ssm = ssm.NewFromConfig(c.cfg, func(o *ssm.Options) {
			if url := c.endpoint("ssm"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	}
	return s.ssm
}

// KMS is the client of the Key Management Service.
func (c *Clients) KMS() *kms.Client {
	s := &c.services
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kms == nil {
		s.kms = kms.NewFromConfig(c.cfg, func(o *kms.Options) {
			if url := c.endpoint("kms"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	}
	return s.kms
}

// STS is the client of the Security Token Service, at its regional endpoint.
func (c *Clients) STS() *sts.Client {
	s := &c.services
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sts == nil {
		s.sts = sts.NewFromConfig(c.cfg, func(o *sts.Options) {
			if url := c.endpoint("sts"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	}
	return s.sts
}

// AutoScaling is the client of EC2 Auto Scaling.
func (c *Clients) AutoScaling() *autoscaling.Client {
	s := &c.services
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.autoscaling == nil {
		s.autoscaling = autoscaling.NewFromConfig(c.cfg, func(o *autoscaling.Options) {
			if url := c.endpoint("autoscaling"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	}
	return s.autoscaling
}

// Route53 is the client of Route 53, which has one endpoint per partition.
func (c *Clients) Route53() *route53.Client {
	s := &c.services
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.route53 == nil {
		s.route53 = route53.NewFromConfig(c.cfg, func(o *route53.Options) {
			if url := c.endpoint("route53"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	}
	return s.route53
}
