package cloud

import "strings"

// partition is what differs between AWS's partitions.
type partition struct {
	domain string // of service endpoints, without the region
	dns    string // the region in which Route 53 requests are signed
}

var partitions = map[string]partition{
	"aws":        {domain: "amazonaws.com", dns: "us-east-1"},
	"aws-cn":     {domain: "amazonaws.com.cn", dns: "cn-northwest-1"},
	"aws-us-gov": {domain: "amazonaws.com", dns: "us-gov-west-1"},
}

func partitionOf(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	default:
		return "aws"
	}
}

// internalDomain is the suffix of private names. us-east-1 alone has the old short one.
func internalDomain(region string) string {
	if region == "us-east-1" {
		return "ec2.internal"
	}
	return region + ".compute.internal"
}

// publicDomain is the suffix of public names.
func (c *Cloud) publicDomain() string {
	if c.opts.Region == "us-east-1" {
		return "compute-1." + c.partition.domain
	}
	return c.opts.Region + ".compute." + c.partition.domain
}

// zoneID abbreviates a zone as AWS does: cn-northwest-1b is cnnw1-az2, us-gov-west-1a is usgw1-az1.
func zoneID(zone string) string {
	region, letter := zone[:len(zone)-1], zone[len(zone)-1]
	short := map[string]string{
		"gov": "g", "north": "n", "south": "s", "east": "e", "west": "w", "central": "c",
		"northeast": "ne", "northwest": "nw", "southeast": "se", "southwest": "sw",
	}
	var b strings.Builder
	for _, part := range strings.Split(region, "-") {
		if s, ok := short[part]; ok {
			part = s
		}
		b.WriteString(part)
	}
	b.WriteString("-az")
	b.WriteByte(letter - 'a' + '1')
	return b.String()
}
