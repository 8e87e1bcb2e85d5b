package cloud

import (
	"maps"
	"slices"
)

var ec2Operations = map[string]operation{
	"AssociateAddress":          associateAddress,
	"AttachVolume":              attachVolume,
	"CreateTags":                createTags,
	"DeleteTags":                deleteTags,
	"DescribeAddresses":         describeAddresses,
	"DescribeAvailabilityZones": describeAvailabilityZones,
	"DescribeInstances":         describeInstances,
	"DescribeInstanceTypes":     describeInstanceTypes,
	"DescribeNetworkInterfaces": describeNetworkInterfaces,
	"DescribeRegions":           describeRegions,
	"DescribeTags":              describeTags,
	"DescribeVolumes":           describeVolumes,
	"DetachVolume":              detachVolume,
	"DisassociateAddress":       disassociateAddress,
	"ModifyInstanceAttribute":   modifyInstanceAttribute,
	"RunInstances":              runInstances,
	"StartInstances":            startInstances,
	"StopInstances":             stopInstances,
	"TerminateInstances":        terminateInstances,
}

// ok is the reply of operations that have nothing to say.
type ok struct {
	Return bool `xml:"return"`
}

// xmlTag is one tag of a resource.
type xmlTag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func xmlTags(tags map[string]string) []xmlTag {
	var all []xmlTag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, xmlTag{k, tags[k]})
	}
	return all
}

// ec2Page is page with the limits that EC2 sets.
func ec2Page[T any](a *call, items []T) ([]T, string, error) {
	size, err := a.form.integer("MaxResults", 0)
	if err != nil {
		return nil, "", err
	}
	if a.form.has("MaxResults") && (size < 5 || size > 1000) {
		return nil, "", errorf(400, "InvalidParameterValue",
			"Value ( %d ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.", size)
	}
	return page(a, items, size, a.form.get("NextToken"))
}

// accept applies the request's filters to one resource: values knows the resource's values by the filter's name.
// Tags are filtered here.
func (a *call) accept(tags map[string]string, values func(name string) ([]string, bool)) (bool, error) {
	return accept(a.filters(), tags, values)
}

// filters are the request's. What lists thousands of resources reads them once, not for each.
func (a *call) filters() []filter { return a.form.filters("Filter", "Value") }

// accept is the same with filters that were read before.
func accept(filters []filter, tags map[string]string, values func(name string) ([]string, bool)) (bool, error) {
	for _, f := range filters {
		var have []string
		if key, isTag := cutTag(f.name); isTag {
			if v, found := tags[key]; found {
				have = []string{v}
			}
		} else if f.name == "tag-key" {
			have = slices.Collect(maps.Keys(tags))
		} else if v, known := values(f.name); known {
			have = v
		} else {
			return false, errorf(400, "InvalidParameterValue", "The filter '%s' is invalid", f.name)
		}
		if !f.matches(have...) {
			return false, nil
		}
	}
	return true, nil
}

func cutTag(name string) (string, bool) {
	if len(name) > 4 && name[:4] == "tag:" {
		return name[4:], true
	}
	return "", false
}

func describeRegions(a *call) (any, error) {
	type region struct {
		Name     string `xml:"regionName"`
		Endpoint string `xml:"regionEndpoint"`
		OptIn    string `xml:"optInStatus"`
	}
	name := a.opts.Region
	return struct {
		Regions []region `xml:"regionInfo>item"`
	}{[]region{{name, "ec2." + name + "." + a.partition.domain, "opt-in-not-required"}}}, nil
}

func describeAvailabilityZones(a *call) (any, error) {
	type zone struct {
		Name   string `xml:"zoneName"`
		ID     string `xml:"zoneId"`
		Region string `xml:"regionName"`
		State  string `xml:"zoneState"`
	}
	var out struct {
		Zones []zone `xml:"availabilityZoneInfo>item"`
	}
	for _, z := range a.zones {
		out.Zones = append(out.Zones, zone{z, zoneID(z), a.opts.Region, "available"})
	}
	return out, nil
}
