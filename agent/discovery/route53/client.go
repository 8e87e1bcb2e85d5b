package route53

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	smithyauth "github.com/aws/smithy-go/auth"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	rekindleaws "rekindle/agent/aws"
)

// Client is the API of AWS. It holds the SDK's operations, and so keeps its client out of interfaces: see docs/decisions/005.
type Client struct {
	getZone   func(context.Context, *route53.GetHostedZoneInput, ...func(*route53.Options)) (*route53.GetHostedZoneOutput, error)
	listZones func(context.Context, *route53.ListHostedZonesByNameInput, ...func(*route53.Options)) (*route53.ListHostedZonesByNameOutput, error)
	list      func(context.Context, *route53.ListResourceRecordSetsInput, ...func(*route53.Options)) (*route53.ListResourceRecordSetsOutput, error)
	change    func(context.Context, *route53.ChangeResourceRecordSetsInput, ...func(*route53.Options)) (*route53.ChangeResourceRecordSetsOutput, error)
	// region replaces the one that requests are signed for; empty: it need not.
	region string
}

// NewClient takes Route 53's client from those of the node. Its endpoint is the partition's, or the operator's own.
func NewClient(ctx context.Context, clients *rekindleaws.Clients) (*Client, error) {
	sdk := clients.Route53()
	c := &Client{getZone: sdk.GetHostedZone, listZones: sdk.ListHostedZonesByName,
		list: sdk.ListResourceRecordSets, change: sdk.ChangeResourceRecordSets}
	if sdk.Options().BaseEndpoint == nil {
		return c, nil
	}
	var err error
	c.region, err = signingRegion(ctx, clients.Region(), clients.Partition())
	return c, err
}

// signingRegion is the region that a partition's Route 53 is in: a request to an endpoint of the operator's own would
// be signed for the node's region otherwise, and refused. The SDK takes a partition that it does not know for "aws";
// there the node's region is as good a guess as any.
func signingRegion(ctx context.Context, region, partition string) (string, error) {
	resolve := func(region string) (host, signed string, err error) {
		endpoint, err := route53.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, route53.EndpointParameters{
			Region: &region, UseFIPS: aws.Bool(false), UseDualStack: aws.Bool(false),
		})
		if err != nil {
			return "", "", fmt.Errorf("route53: region %q: %w", region, err)
		}
		schemes, _ := smithyauth.GetAuthOptions(&endpoint.Properties)
		for _, s := range schemes {
			signed, _ = smithyhttp.GetSigV4SigningRegion(&s.SignerProperties)
		}
		return endpoint.URI.Host, signed, nil
	}
	host, signed, err := resolve(region)
	if err != nil {
		return "", err
	}
	unknown, _, err := resolve("none")
	if err != nil {
		return "", err
	}
	if host == unknown && partition != "" && partition != "aws" {
		return "", nil
	}
	return signed, nil
}

// once makes a call a single request.
func (c *Client) once(o *route53.Options) {
	o.Retryer = aws.NopRetryer{}
	if c.region != "" {
		o.Region = c.region
	}
}

// Zone implements API.
func (c *Client) Zone(ctx context.Context, id string) (Zone, error) {
	out, err := c.getZone(ctx, &route53.GetHostedZoneInput{Id: &id}, c.once)
	if err != nil {
		return Zone{}, err
	}
	if out.HostedZone == nil {
		return Zone{}, errors.New("route53: GetHostedZone: the answer holds no zone")
	}
	return zoneOf(*out.HostedZone), nil
}

// ZonesNamed implements API. The listing begins at the name and goes on with others; zones of one name stand together.
func (c *Client) ZonesNamed(ctx context.Context, name string) ([]Zone, error) {
	out, err := c.listZones(ctx, &route53.ListHostedZonesByNameInput{DNSName: &name}, c.once)
	if err != nil {
		return nil, err
	}
	var zones []Zone
	for _, z := range out.HostedZones {
		if zone := zoneOf(z); zone.Name == name {
			zones = append(zones, zone)
		}
	}
	return zones, nil
}

func zoneOf(z types.HostedZone) Zone {
	return Zone{
		ID:      strings.TrimPrefix(aws.ToString(z.Id), "/hostedzone/"),
		Name:    fqdn(aws.ToString(z.Name)),
		Private: z.Config != nil && z.Config.PrivateZone,
	}
}

// Records implements API.
func (c *Client) Records(ctx context.Context, zone string, from Place) ([]Record, *Place, error) {
	in := &route53.ListResourceRecordSetsInput{HostedZoneId: &zone, StartRecordName: &from.Name}
	if from.Type != "" {
		in.StartRecordType = types.RRType(from.Type)
	}
	if from.Identifier != "" {
		in.StartRecordIdentifier = &from.Identifier
	}
	out, err := c.list(ctx, in, c.once)
	if err != nil {
		return nil, nil, err
	}
	var records []Record
	for _, r := range out.ResourceRecordSets {
		records = append(records, recordOf(r))
	}
	if !out.IsTruncated {
		return records, nil, nil
	}
	next := Place{aws.ToString(out.NextRecordName), string(out.NextRecordType), aws.ToString(out.NextRecordIdentifier)}
	return records, &next, nil
}

func recordOf(s types.ResourceRecordSet) Record {
	r := Record{
		Name: fqdn(aws.ToString(s.Name)), Type: string(s.Type), TTL: aws.ToInt64(s.TTL),
		Special: s.SetIdentifier != nil || s.AliasTarget != nil || s.HealthCheckId != nil || s.TrafficPolicyInstanceId != nil,
	}
	for _, v := range s.ResourceRecords {
		r.Values = append(r.Values, aws.ToString(v.Value))
	}
	return r
}

// Change implements API.
func (c *Client) Change(ctx context.Context, zone string, changes []Change) error {
	batch := &types.ChangeBatch{Comment: aws.String("rekindle")}
	for _, change := range changes {
		r := change.Record
		set := &types.ResourceRecordSet{Name: &r.Name, Type: types.RRType(r.Type), TTL: &r.TTL}
		for _, v := range r.Values {
			set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
		}
		batch.Changes = append(batch.Changes, types.Change{Action: types.ChangeAction(change.Action), ResourceRecordSet: set})
	}
	_, err := c.change(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: &zone, ChangeBatch: batch}, c.once)
	return err
}
