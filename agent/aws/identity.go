package aws

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// emptyDigest is the SHA-256 of no bytes: the body of a GET.
const emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// ProveIdentity returns the presigned URL of a GetCallerIdentity at the regional STS. Whoever calls it learns from STS who
// signed it, as long as he sends these headers with these values; host is signed, too, and no other header is.
//
// It is signed as of the given time, which need not be this machine's. STS accepts it for 15 minutes from then on. It
// does not look at X-Amz-Expires (aws/aws-sdk-go#2167), which is there for those who do.
//
// The URL holds the session's token: it is no text for a log.
func (c *Clients) ProveIdentity(ctx context.Context, headers map[string]string, at time.Time) (string, error) {
	base, err := c.STSEndpoint(ctx)
	if err != nil {
		return "", err
	}
	credentials, err := c.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return "", fmt.Errorf("aws: proof of identity: %w", err)
	}
	base.RawQuery = "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.String(), nil)
	if err != nil {
		return "", fmt.Errorf("aws: proof of identity: %w", err)
	}
	want := []string{"host"}
	for name, value := range headers {
		req.Header.Set(name, value)
		want = append(want, strings.ToLower(name))
	}
	slices.Sort(want)
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, credentials, req, emptyDigest, "sts", c.cfg.Region, at.UTC())
	if err != nil {
		return "", fmt.Errorf("aws: proof of identity: %w", err)
	}
	u, err := url.Parse(signed)
	if err != nil {
		return "", fmt.Errorf("aws: proof of identity: %w", err)
	}
	// The signer leaves some headers out (User-Agent) and moves others into the URL (X-Amz-*).
	if got := u.Query().Get("X-Amz-SignedHeaders"); got != strings.Join(want, ";") {
		return "", fmt.Errorf("aws: proof of identity: of the headers %v only %s can be signed", slices.Sorted(maps.Keys(headers)), got)
	}
	return signed, nil
}

// STSEndpoint is the base URL of the regional STS, as STS() reaches it: with the operator's endpoint, the partition's
// domain, FIPS and dual-stack. It makes no request.
func (c *Clients) STSEndpoint(ctx context.Context) (*url.URL, error) {
	o := c.STS().Options()
	found, err := o.EndpointResolverV2.ResolveEndpoint(ctx, sts.EndpointParameters{
		Region:            &o.Region,
		UseDualStack:      aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		UseFIPS:           aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseGlobalEndpoint: aws.Bool(false),
		Endpoint:          o.BaseEndpoint,
	})
	if err != nil {
		return nil, fmt.Errorf("aws: endpoint of sts in %s: %w", o.Region, err)
	}
	u := found.URI
	if u.Path == "" {
		u.Path = "/" // as it is signed
	}
	return &u, nil
}
