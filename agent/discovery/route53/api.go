package route53

import (
	"context"
	"strings"
)

// API is what the keeper needs of Route 53. Each call is one request, and none repeats it: the keeper counts and paces
// them. Names come and go in lower case with a dot at their end.
type API interface {
	// Zone is the hosted zone with this id.
	Zone(ctx context.Context, id string) (Zone, error)
	// ZonesNamed are the hosted zones with exactly this name, private and public.
	ZonesNamed(ctx context.Context, name string) ([]Zone, error)
	// Records is a page of a zone's record sets, in Route 53's order, and where the next page begins; nil: nowhere.
	Records(ctx context.Context, zone string, from Place) ([]Record, *Place, error)
	// Change applies all changes or none.
	Change(ctx context.Context, zone string, changes []Change) error
}

// Zone is a hosted zone.
type Zone struct {
	ID      string // Z0123456789ABCDEFGHIJ
	Name    string
	Private bool
}

// contains tells whether a record of this name can be in the zone.
func (z Zone) contains(name string) bool { return below(name, z.Name) }

// below tells whether name is parent, or a name under it.
func below(name, parent string) bool { return name == parent || strings.HasSuffix(name, "."+parent) }

// Place is where a page of records begins.
type Place struct{ Name, Type, Identifier string }

// Record is a record set.
type Record struct {
	Name, Type string
	TTL        int64 // seconds
	Values     []string
	// Special is an alias or has a routing policy: values and TTL do not say all about it.
	Special bool
}

// Action is what a change does. There is no UPSERT: it would write over what came in between.
type Action string

// The actions.
const (
	Create Action = "CREATE" // refused when the record set exists
	Delete Action = "DELETE" // refused unless TTL and values are exactly these
)

// Change is a part of a batch.
type Change struct {
	Action Action
	Record Record
}

// fqdn is a name as it is compared.
func fqdn(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }
