package route53

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// markerTTL is in seconds. Nobody resolves markers.
const markerTTL = 300

var markerText = regexp.MustCompile(`^"rekindle cluster=([^\s"]+) v=([0-9]{1,9}) serial=(0|[1-9][0-9]{0,17})"$`)

// markerName is where the marker of a record set is: one for each type, so that an AAAA of somebody else's beside an A of
// ours is not ours.
func markerName(name, kind string) string { return "_rekindle-" + strings.ToLower(kind) + "." + name }

// markedBy is the reverse of markerName.
func markedBy(marker string) (name, kind string, ok bool) {
	label, name, found := strings.Cut(marker, ".")
	kind, prefixed := strings.CutPrefix(label, "_rekindle-")
	kind = strings.ToUpper(kind)
	return name, kind, found && prefixed && (kind == "A" || kind == "AAAA")
}

// newMarker is the marker of a record set. The serial grows with every write of it, so a batch that replaces the marker
// fails if anybody wrote the record set since it was read, even if the addresses are the same again.
func newMarker(name, kind, cluster string, serial int64) Record {
	text := fmt.Sprintf(`"rekindle cluster=%s v=1 serial=%d"`, cluster, serial)
	return Record{Name: markerName(name, kind), Type: "TXT", TTL: markerTTL, Values: []string{text}}
}

// ours reads a marker. When it is not this cluster's, why says whose it is.
func (r Record) ours(cluster string) (serial int64, why string) {
	if r.Special || len(r.Values) != 1 {
		return 0, "its marker " + r.Name + " is not one that rekindle wrote"
	}
	parts := markerText.FindStringSubmatch(r.Values[0])
	switch {
	case parts == nil:
		return 0, "its marker " + r.Name + " is not one that rekindle wrote"
	case parts[1] != cluster:
		return 0, "it belongs to cluster " + parts[1]
	case parts[2] != "1":
		return 0, "a newer rekindle wrote it (marker version " + parts[2] + ")"
	}
	serial, err := strconv.ParseInt(parts[3], 10, 64)
	if err != nil {
		return 0, "its marker " + r.Name + " is not one that rekindle wrote"
	}
	return serial, ""
}
