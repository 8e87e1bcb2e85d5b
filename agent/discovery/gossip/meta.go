package gossip

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"

	"github.com/hashicorp/memberlist"

	"rekindle/agent/discovery"
)

// The metadata that memberlist carries for a node is a format number, the CRC-32C of what follows, and fields of one byte
// tag, one byte length and the value. A field with an unknown tag is skipped, so that a newer agent can add some; the
// format number changes only when an older agent must not read on.
const (
	metaFormat = 1
	metaHeader = 5 // bytes

	tagCluster = 1 // the first 8 bytes of the SHA-256 of the cluster's name
	tagRun     = 2 // 4 bytes, random, of the process
	tagLeaving = 3 // no bytes: the process is about to leave
	tagNode    = 4
	tagRole    = 5
	tagZone    = 6
	tagAddress = 7 // 4 or 16 bytes; may be there up to maxAddresses times
	tagAPIPort = 8 // 2 bytes
	tagAPI     = 9 // 1 byte, an index into healths
	tagEtcd    = 10
	tagVersion = 11

	maxAddresses = 4
	maxWord      = 63  // bytes of a role, zone or version
	maxName      = 253 // bytes of an instance or node name: as DNS has it
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// healths are the words by the byte that stands for them. The list is only ever extended; a byte beyond its end comes from
// a newer agent and reads as Unhealthy.
var healths = []discovery.Health{"", discovery.Healthy, discovery.Starting, discovery.Unhealthy, discovery.Leaving}

// errCluster is about metadata of a node of another cluster.
var errCluster = errors.New("of another cluster")

// meta is what a node says of itself.
type meta struct {
	peer    discovery.Peer
	run     uint32 // tells one process from the next of the same instance
	leaving bool
}

func clusterID(cluster string) []byte {
	sum := sha256.Sum256([]byte(cluster))
	return sum[:8]
}

// encode is the metadata in at most memberlist.MetaMaxSize bytes, without the instance, which is memberlist's name.
func (m meta) encode(cluster string) ([]byte, error) {
	p := m.peer
	if err := check(p); err != nil {
		return nil, err
	}
	data := make([]byte, metaHeader, 128)
	field := func(tag byte, value []byte) {
		data = append(append(data, tag, byte(len(value))), value...)
	}
	field(tagCluster, clusterID(cluster))
	field(tagRun, binary.BigEndian.AppendUint32(nil, m.run))
	if m.leaving {
		field(tagLeaving, nil)
	}
	text := func(tag byte, value string) {
		if value != "" {
			field(tag, []byte(value))
		}
	}
	text(tagNode, p.Node)
	text(tagRole, p.Role)
	text(tagZone, p.Zone)
	text(tagVersion, p.Version)
	for _, address := range p.Addresses {
		field(tagAddress, address.Unmap().AsSlice())
	}
	if p.APIPort != 0 {
		field(tagAPIPort, binary.BigEndian.AppendUint16(nil, uint16(p.APIPort)))
	}
	for i, health := range []discovery.Health{p.API, p.Etcd} {
		if health != "" {
			field([]byte{tagAPI, tagEtcd}[i], []byte{byte(slices.Index(healths, health))})
		}
	}
	if len(data) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("%s: metadata of %d bytes: at most %d travel", p.Instance, len(data), memberlist.MetaMaxSize)
	}
	data[0] = metaFormat
	binary.BigEndian.PutUint32(data[1:], crc32.Checksum(data[metaHeader:], castagnoli))
	return data, nil
}

// decode reads the metadata of an instance. The error is errCluster when it is sound, but of another cluster.
func decode(cluster, instance string, data []byte) (meta, error) {
	m := meta{peer: discovery.Peer{Instance: instance}}
	switch {
	case len(data) < metaHeader || len(data) > memberlist.MetaMaxSize:
		return m, fmt.Errorf("metadata of %d bytes: must be %d to %d", len(data), metaHeader, memberlist.MetaMaxSize)
	case data[0] != metaFormat:
		return m, fmt.Errorf("metadata of format %d: only %d is known", data[0], metaFormat)
	case binary.BigEndian.Uint32(data[1:]) != crc32.Checksum(data[metaHeader:], castagnoli):
		return m, errors.New("metadata: checksum mismatch")
	}
	seen := map[byte]bool{}
	for rest := data[metaHeader:]; len(rest) > 0; {
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return m, errors.New("metadata is cut off")
		}
		tag, value := rest[0], rest[2:2+int(rest[1])]
		rest = rest[2+len(value):]
		if seen[tag] && tag != tagAddress {
			return m, fmt.Errorf("metadata: field %d is there twice", tag)
		}
		seen[tag] = true
		if tag == tagCluster && string(value) != string(clusterID(cluster)) {
			return m, errCluster
		}
		if err := m.set(tag, value); err != nil {
			return m, err
		}
	}
	if !seen[tagCluster] || !seen[tagRun] {
		return m, errors.New("metadata: the cluster or the run is missing")
	}
	return m, check(m.peer)
}

// set takes a field over.
func (m *meta) set(tag byte, value []byte) error {
	size := map[byte]int{tagCluster: 8, tagRun: 4, tagLeaving: 0, tagAPIPort: 2, tagAPI: 1, tagEtcd: 1}
	if want, fixed := size[tag]; fixed && len(value) != want {
		return fmt.Errorf("metadata: field %d of %d bytes: must be %d", tag, len(value), want)
	}
	p := &m.peer
	switch tag {
	case tagRun:
		m.run = binary.BigEndian.Uint32(value)
	case tagLeaving:
		m.leaving = true
	case tagNode:
		p.Node = string(value)
	case tagRole:
		p.Role = string(value)
	case tagZone:
		p.Zone = string(value)
	case tagVersion:
		p.Version = string(value)
	case tagAddress:
		address, ok := netip.AddrFromSlice(value)
		if !ok {
			return fmt.Errorf("metadata: an address of %d bytes", len(value))
		}
		p.Addresses = append(p.Addresses, address)
	case tagAPIPort:
		p.APIPort = int(binary.BigEndian.Uint16(value))
	case tagAPI:
		p.API = health(value[0])
	case tagEtcd:
		p.Etcd = health(value[0])
	}
	return nil
}

func health(b byte) discovery.Health {
	if int(b) < len(healths) {
		return healths[b]
	}
	return discovery.Unhealthy
}

// check says what makes no sense about a peer. Its words end up in names, files and terminals, so they are of few
// characters.
func check(p discovery.Peer) error {
	switch {
	case p.Instance == "":
		return errors.New("instance is empty")
	case len(p.Addresses) == 0 || len(p.Addresses) > maxAddresses:
		return fmt.Errorf("%d addresses: must be 1 to %d", len(p.Addresses), maxAddresses)
	case p.APIPort < 0 || p.APIPort > 65535:
		return fmt.Errorf("apiPort %d: must be 0 to 65535", p.APIPort)
	}
	for name, text := range map[string]string{
		"instance": p.Instance, "node": p.Node, "role": p.Role, "zone": p.Zone, "version": p.Version,
	} {
		longest := maxWord
		if name == "instance" || name == "node" {
			longest = maxName
		}
		if len(text) > longest || !word(text) {
			return fmt.Errorf("%s %q: at most %d letters, digits and . _ + -", name, text, longest)
		}
	}
	for _, address := range p.Addresses {
		if err := checkAddress(address); err != nil {
			return err
		}
	}
	for _, h := range []discovery.Health{p.API, p.Etcd} {
		if !slices.Contains(healths, h) {
			return fmt.Errorf("health %q: not a known one", h)
		}
	}
	return nil
}

// checkAddress refuses what others cannot reach a node at. Loopback is right: all nodes of a test may be on one machine.
func checkAddress(address netip.Addr) error {
	if !address.IsValid() || address.IsUnspecified() || address.IsMulticast() || address.IsLinkLocalUnicast() ||
		address.Zone() != "" {
		return fmt.Errorf("address %q: not one that others can reach", address)
	}
	return nil
}

func word(text string) bool {
	for _, c := range []byte(text) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '+', c == '-':
		default:
			return false
		}
	}
	return true
}
