package aws

import (
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// services are the clients made so far.
type services struct {
	mu          sync.Mutex
	s3          map[string]*s3.Client // by region
	ec2         *ec2.Client
	ssm         *ssm.Client
	sts         *sts.Client
	autoscaling *autoscaling.Client
	route53     *route53.Client
}

// once is *field, made by the first caller.
func once[C any](s *services, field **C, make func() *C) *C {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *field == nil {
		*field = make()
	}
	return *field
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
	return once(&c.services, &c.services.ec2, func() *ec2.Client {
		return ec2.NewFromConfig(c.cfg, func(o *ec2.Options) {
			if url := c.endpoint("ec2"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	})
}

// SSM is the client of Systems Manager's parameters.
func (c *Clients) SSM() *ssm.Client {
	return once(&c.services, &c.services.ssm, func() *ssm.Client {
		return ssm.NewFromConfig(c.cfg, func(o *ssm.Options) {
			if url := c.endpoint("ssm"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	})
}

// STS is the client of the Security Token Service, at its regional endpoint.
func (c *Clients) STS() *sts.Client {
	return once(&c.services, &c.services.sts, func() *sts.Client {
		return sts.NewFromConfig(c.cfg, func(o *sts.Options) {
			if url := c.endpoint("sts"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	})
}

// AutoScaling is the client of EC2 Auto Scaling.
func (c *Clients) AutoScaling() *autoscaling.Client {
	return once(&c.services, &c.services.autoscaling, func() *autoscaling.Client {
		return autoscaling.NewFromConfig(c.cfg, func(o *autoscaling.Options) {
			if url := c.endpoint("autoscaling"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	})
}

// Route53 is the client of Route 53, which has one endpoint per partition.
func (c *Clients) Route53() *route53.Client {
	return once(&c.services, &c.services.route53, func() *route53.Client {
		return route53.NewFromConfig(c.cfg, func(o *route53.Options) {
			if url := c.endpoint("route53"); url != nil {
				o.BaseEndpoint = url
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			}
		})
	})
}
