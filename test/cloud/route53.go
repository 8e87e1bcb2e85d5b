package cloud

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

var route53Operations = map[string]operation{
	"ChangeResourceRecordSets": changeResourceRecordSets,
	"GetChange":                getChange,
	"GetHostedZone":            getHostedZone,
	"ListHostedZones":          listHostedZones,
	"ListHostedZonesByName":    listHostedZonesByName,
	"ListResourceRecordSets":   listResourceRecordSets,
}

// route53Route names the operation behind a method and path, and the id in the path.
func route53Route(method, path string) (action, id string) {
	parts := strings.Split(strings.Trim(strings.TrimPrefix(path, "/2013-04-01"), "/"), "/")
	if len(parts) > 1 {
		id = parts[1]
		parts[1] = "ID"
	}
	return map[string]string{
		"GET hostedzone":           "ListHostedZones",
		"GET hostedzonesbyname":    "ListHostedZonesByName",
		"GET hostedzone/ID":        "GetHostedZone",
		"GET hostedzone/ID/rrset":  "ListResourceRecordSets",
		"POST hostedzone/ID/rrset": "ChangeResourceRecordSets",
		"GET change/ID":            "GetChange",
	}[method+" "+strings.Join(parts, "/")], id
}

type hostedZone struct {
	id, name string // name with the dot at its end
	private  bool
	records  map[recordKey]RecordSet
}

// CreateZone makes a hosted zone with its NS and SOA records and returns its id.
func (c *Cloud) CreateZone(name string, private bool) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	z := &hostedZone{id: "Z" + digest([]byte(name + strconv.Itoa(len(c.dns))))[:13], name: dnsName(name), private: private}
	z.id = strings.ToUpper(z.id)
	z.records = map[recordKey]RecordSet{}
	for _, r := range []RecordSet{
		{Name: z.name, Type: "NS", TTL: 172800, Values: []string{"ns-1.awsdns-00.com."}},
		{Name: z.name, Type: "SOA", TTL: 900, Values: []string{"ns-1.awsdns-00.com. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"}},
	} {
		z.records[r.key()] = r
	}
	c.dns[z.id] = z
	return z.id
}

// Records lists the records of a zone as Route 53 does; nil: no such zone.
func (c *Cloud) Records(zoneID string) []RecordSet {
	c.mu.Lock()
	defer c.mu.Unlock()
	if z := c.dns[zoneID]; z != nil {
		return z.sorted()
	}
	return nil
}

type xmlZone struct {
	ID        string `xml:"Id"`
	Name      string
	Reference string `xml:"CallerReference"`
	Private   bool   `xml:"Config>PrivateZone"`
	Count     int    `xml:"ResourceRecordSetCount"`
}

func (z *hostedZone) describe() xmlZone {
	return xmlZone{"/hostedzone/" + z.id, z.name, z.id, z.private, len(z.records)}
}

// zone finds the zone of the path.
func (a *call) zone() (*hostedZone, error) {
	z := a.dns[a.resource]
	if z == nil {
		return nil, errorf(404, "NoSuchHostedZone", "No hosted zone found with ID: %s", a.resource)
	}
	return z, nil
}

// maxItems is the size of a page; the fault PageSize acts here.
func (a *call) maxItems(limit int) int {
	size := limit
	if n, err := strconv.Atoi(a.form.get("maxitems")); err == nil && n > 0 {
		size = min(size, n)
	}
	for _, e := range a.effects {
		if e.kind == pageSize {
			size = e.size
		}
	}
	return size
}

func listHostedZones(a *call) (any, error) {
	ids := slices.Sorted(maps.Keys(a.dns))
	start, _ := slices.BinarySearch(ids, a.form.get("marker"))
	size := a.maxItems(100)
	out := struct {
		Zones     []xmlZone `xml:"HostedZones>HostedZone"`
		Marker    string    `xml:",omitempty"`
		Truncated bool      `xml:"IsTruncated"`
		Next      string    `xml:"NextMarker,omitempty"`
		MaxItems  int
	}{Marker: a.form.get("marker"), MaxItems: size}
	for _, id := range ids[start:] {
		if len(out.Zones) == size {
			out.Truncated, out.Next = true, id
			break
		}
		out.Zones = append(out.Zones, a.dns[id].describe())
	}
	return out, nil
}

// listHostedZonesByName starts at the name asked for and goes on with the others: the first may be another zone.
func listHostedZonesByName(a *call) (any, error) {
	zones := slices.SortedFunc(maps.Values(a.dns), func(x, y *hostedZone) int {
		return cmp.Or(cmp.Compare(reversed(x.name), reversed(y.name)), cmp.Compare(x.id, y.id))
	})
	size := a.maxItems(100)
	out := struct {
		Zones     []xmlZone `xml:"HostedZones>HostedZone"`
		Name      string    `xml:"DNSName,omitempty"`
		ID        string    `xml:"HostedZoneId,omitempty"`
		Truncated bool      `xml:"IsTruncated"`
		NextName  string    `xml:"NextDNSName,omitempty"`
		NextID    string    `xml:"NextHostedZoneId,omitempty"`
		MaxItems  int
	}{Name: a.form.get("dnsname"), ID: a.form.get("hostedzoneid"), MaxItems: size}
	start := reversed(dnsName(out.Name))
	for _, z := range zones {
		name := reversed(z.name)
		if out.Name != "" && (name < start || name == start && z.id < out.ID) {
			continue
		}
		if len(out.Zones) == size {
			out.Truncated, out.NextName, out.NextID = true, z.name, z.id
			break
		}
		out.Zones = append(out.Zones, z.describe())
	}
	return out, nil
}

func getHostedZone(a *call) (any, error) {
	z, err := a.zone()
	if err != nil {
		return nil, err
	}
	type vpc struct {
		Region string `xml:"VPCRegion"`
		ID     string `xml:"VPCId"`
	}
	out := struct {
		HostedZone xmlZone
		VPCs       []vpc `xml:"VPCs>VPC"`
	}{HostedZone: z.describe()}
	if z.private {
		out.VPCs = []vpc{{a.opts.Region, vpcID}}
	}
	return out, nil
}
