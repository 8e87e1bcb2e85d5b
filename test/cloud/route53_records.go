package cloud

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// RecordSet is a Route 53 resource record set. Names are in lower case and end with a dot.
type RecordSet struct {
	Name          string
	Type          string
	SetIdentifier string   `xml:",omitempty"`
	Weight        *int     `xml:",omitempty"`
	TTL           int      // seconds
	Values        []string `xml:"-"`
}

// xmlRecordSet is a record set on the wire: each value stands in an element of its own.
type xmlRecordSet struct {
	RecordSet
	Records []xmlRecord `xml:"ResourceRecords>ResourceRecord"`
}

type xmlRecord struct{ Value string }

// recordKey is what makes a record set one.
type recordKey struct{ name, kind, id string }

func (r RecordSet) key() recordKey { return recordKey{r.Name, r.Type, r.SetIdentifier} }

// dnsName normalises a name as Route 53 does.
func dnsName(name string) string {
	name = strings.ReplaceAll(strings.ToLower(strings.TrimSuffix(name, ".")), "*", `\052`)
	return name + "."
}

// reversed is a name with its labels turned round: the order of Route 53's listings.
func reversed(name string) string {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "."
}

func (k recordKey) compare(o recordKey) int {
	return cmp.Or(cmp.Compare(reversed(k.name), reversed(o.name)), cmp.Compare(k.kind, o.kind), cmp.Compare(k.id, o.id))
}

func (z *hostedZone) sorted() []RecordSet {
	return slices.SortedFunc(maps.Values(z.records), func(x, y RecordSet) int { return x.key().compare(y.key()) })
}

func listResourceRecordSets(a *call) (any, error) {
	z, err := a.zone()
	if err != nil {
		return nil, err
	}
	size := a.maxItems(300)
	out := struct {
		Records   []xmlRecordSet `xml:"ResourceRecordSets>ResourceRecordSet"`
		Truncated bool           `xml:"IsTruncated"`
		NextName  string         `xml:"NextRecordName,omitempty"`
		NextType  string         `xml:"NextRecordType,omitempty"`
		NextID    string         `xml:"NextRecordIdentifier,omitempty"`
		MaxItems  int
	}{MaxItems: size}
	var start recordKey
	if name := a.form.get("name"); name != "" {
		start = recordKey{dnsName(name), a.form.get("type"), a.form.get("identifier")}
	} else if a.form.has("type") {
		return nil, errorf(400, "InvalidInput", "Type was specified without a name")
	}
	for _, r := range z.sorted() {
		if start.name != "" && r.key().compare(start) < 0 {
			continue
		}
		if len(out.Records) == size {
			out.Truncated, out.NextName, out.NextType, out.NextID = true, r.Name, r.Type, r.SetIdentifier
			break
		}
		x := xmlRecordSet{RecordSet: r}
		for _, v := range r.Values {
			x.Records = append(x.Records, xmlRecord{v})
		}
		out.Records = append(out.Records, x)
	}
	return out, nil
}

// changeResourceRecordSets applies all changes or none.
func changeResourceRecordSets(a *call) (any, error) {
	z, err := a.zone()
	if err != nil {
		return nil, err
	}
	var in struct {
		Changes []struct {
			Action string
			Record xmlRecordSet `xml:"ResourceRecordSet"`
		} `xml:"ChangeBatch>Changes>Change"`
	}
	if err := xml.Unmarshal(a.body, &in); err != nil {
		return nil, errorf(400, "InvalidInput", "%v", err)
	}
	records := maps.Clone(z.records)
	var problems []string
	for _, c := range in.Changes {
		r := c.Record.RecordSet
		r.Name = dnsName(r.Name)
		for _, v := range c.Record.Records {
			r.Values = append(r.Values, v.Value)
		}
		problem := z.check(r)
		if problem == "" {
			problem = apply(records, c.Action, r)
		}
		if problem != "" {
			problems = append(problems, problem)
		}
	}
	problems = append(problems, z.conflicts(records)...)
	if len(problems) > 0 {
		return nil, errorf(400, "InvalidChangeBatch", "[%s]", strings.Join(problems, ", "))
	}
	z.records = records
	id := strings.ToUpper("C" + digest([]byte(a.requestID))[:20])
	a.changes[id] = a.now()
	return a.change(id), nil
}

// check says what Route 53 would find wrong with a record, or nothing.
func (z *hostedZone) check(r RecordSet) string {
	switch {
	case r.Name != z.name && !strings.HasSuffix(r.Name, "."+z.name):
		return fmt.Sprintf("RRSet with DNS name %s is not permitted in zone %s", r.Name, z.name)
	case len(r.Values) == 0:
		return fmt.Sprintf("Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords]], "+
			"but found none in Change with [Name=%s, Type=%s]", r.Name, r.Type)
	}
	for _, v := range r.Values {
		address, err := netip.ParseAddr(v)
		if r.Type == "A" && (err != nil || !address.Is4()) {
			return fmt.Sprintf("Invalid Resource Record: 'FATAL problem: ARRDATAIllegalIPv4Address "+
				"(Value is not a valid IPv4 address) encountered with '%s''", v)
		}
		if r.Type == "AAAA" && (err != nil || !address.Is6()) {
			return fmt.Sprintf("Invalid Resource Record: 'FATAL problem: AAAARRDATAIllegalIPv6Address "+
				"(Value is not a valid IPv6 address) encountered with '%s''", v)
		}
		if r.Type == "TXT" && (len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"') {
			return fmt.Sprintf("Invalid Resource Record: 'FATAL problem: InvalidCharacterString "+
				"(Value should be enclosed in quotation marks) encountered with '%s''", v)
		}
	}
	return ""
}

// conflicts are the names that would have a CNAME and something else.
func (z *hostedZone) conflicts(records map[recordKey]RecordSet) (problems []string) {
	for k := range records {
		if other := (recordKey{name: k.name, kind: "CNAME"}); k.kind != "CNAME" {
			if _, found := records[other]; found {
				problems = append(problems, fmt.Sprintf("RRSet of type %s with DNS name %s is not permitted because a conflicting "+
					"RRSet of type CNAME with the same DNS name already exists in zone %s", k.kind, k.name, z.name))
			}
		}
	}
	slices.Sort(problems)
	return problems
}

func apply(records map[recordKey]RecordSet, action string, r RecordSet) string {
	old, found := records[r.key()]
	switch action {
	case "CREATE":
		if found {
			return fmt.Sprintf("Tried to create resource record set [name='%s', type='%s'] but it already exists", r.Name, r.Type)
		}
		records[r.key()] = r
	case "UPSERT":
		records[r.key()] = r
	case "DELETE":
		if !found {
			return fmt.Sprintf("Tried to delete resource record set [name='%s', type='%s'] but it was not found", r.Name, r.Type)
		}
		if old.TTL != r.TTL || !slices.Equal(slices.Sorted(slices.Values(old.Values)), slices.Sorted(slices.Values(r.Values))) {
			return fmt.Sprintf("Tried to delete resource record set [name='%s', type='%s'] but the values provided do not match the current values", r.Name, r.Type)
		}
		delete(records, r.key())
	default:
		return fmt.Sprintf("Invalid action '%s'", action)
	}
	return ""
}

type xmlChange struct {
	ID        string `xml:"ChangeInfo>Id"`
	Status    string `xml:"ChangeInfo>Status"`
	Submitted string `xml:"ChangeInfo>SubmittedAt"`
}

// change is PENDING in the answer to the change itself, and for Options.ChangeDelay.
func (a *call) change(id string) xmlChange {
	status := "INSYNC"
	if a.action == "ChangeResourceRecordSets" || a.now().Sub(a.changes[id]) < a.opts.ChangeDelay {
		status = "PENDING"
	}
	return xmlChange{"/change/" + id, status, a.changes[id].UTC().Format(time.RFC3339)}
}

func getChange(a *call) (any, error) {
	if _, found := a.changes[a.resource]; !found {
		return nil, errorf(404, "NoSuchChange", "Could not find resource with ID: %s", a.resource)
	}
	return a.change(a.resource), nil
}
