package aws

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// unknownDomain is the DNS suffix when the SDK would use another one in this region, else "".
//
// The SDK takes a region that it has never heard of for one of the oldest partition, and the agent of an isolated
// partition would look for its services outside of it.
func unknownDomain(ctx context.Context, region, suffix string) (string, error) {
	if suffix == "" {
		return "", nil
	}
	known, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, sts.EndpointParameters{
		Region:            &region,
		UseDualStack:      aws.Bool(false),
		UseFIPS:           aws.Bool(false),
		UseGlobalEndpoint: aws.Bool(false),
	})
	if err != nil {
		return "", fmt.Errorf("aws: region %q: %w", region, err)
	}
	if known.URI.Hostname() == "sts."+region+"."+suffix {
		return "", nil
	}
	return suffix, nil
}

// endpoint is the URL that replaces the SDK's for a service, or nil.
func (c *Clients) endpoint(service string) *string {
	if url := c.opts.Endpoints[service]; url != "" {
		return &url
	}
	if c.domain == "" {
		return nil
	}
	host := service
	if fips, found, err := c.fips(); err == nil && found && fips {
		host += "-fips"
	}
	if service != "route53" { // the one service here without regions
		host += "." + c.cfg.Region
	}
	return aws.String("https://" + host + "." + c.domain)
}

// fips tells whether the environment or the shared configuration asks for FIPS endpoints.
func (c *Clients) fips() (on, found bool, err error) {
	for _, source := range c.cfg.ConfigSources {
		s, ok := source.(interface {
			GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error)
		})
		if !ok {
			continue
		}
		state, found, err := s.GetUseFIPSEndpoint(context.Background())
		if found || err != nil {
			return state == aws.FIPSEndpointStateEnabled, found, err
		}
	}
	return false, false, nil
}

// serviceName is "autoscaling" for the SDK's "Auto Scaling".
func serviceName(id string) string { return strings.ToLower(strings.ReplaceAll(id, " ", "")) }
