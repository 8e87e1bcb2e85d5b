package etcdtest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// hosts is what the nodes' hosts files would hold. etcd resolves its peers' names itself and cannot be given a resolver,
// so that of the whole test binary answers for them; /etc/hosts goes on being read, and no other name exists.
var hosts = struct {
	sync.Mutex
	addresses map[string]netip.Addr
}{addresses: map[string]netip.Addr{}}

func init() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go serve(far)
		return near, nil
	}}
}

func enter(name string, address netip.Addr) {
	hosts.Lock()
	defer hosts.Unlock()
	hosts.addresses[name] = address
}

// serve answers the questions of one connection, which speaks DNS as over TCP: two bytes of length, then the message.
func serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, question); err != nil {
			return
		}
		answer, err := reply(question)
		if err != nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// reply answers the one question of a message (RFC 1035, section 4).
func reply(query []byte) ([]byte, error) {
	const header, typeA, noSuchName = 12, 1, 3
	var labels []string
	at := header
	for {
		if at >= len(query) {
			return nil, errors.New("the question ends early")
		}
		length := int(query[at])
		at++
		if length == 0 {
			break
		}
		if at+length > len(query) {
			return nil, errors.New("the name ends early")
		}
		labels = append(labels, string(query[at:at+length]))
		at += length
	}
	if at+4 > len(query) {
		return nil, errors.New("the question has no type")
	}
	kind := binary.BigEndian.Uint16(query[at:])

	hosts.Lock()
	address, known := hosts.addresses[strings.Join(labels, ".")]
	hosts.Unlock()
	answer := append([]byte(nil), query[:2]...)
	flags, answers := uint16(0x8580), uint16(0) // a response, authoritative, recursion asked and there
	if !known {
		flags |= noSuchName
	}
	if known && kind == typeA {
		answers = 1
	}
	for _, word := range []uint16{flags, 1, answers, 0, 0} {
		answer = binary.BigEndian.AppendUint16(answer, word)
	}
	answer = append(answer, query[header:at+4]...)
	if answers == 1 {
		answer = append(answer, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4) // the name above, class IN, TTL 0, four bytes
		bytes := address.As4()
		answer = append(answer, bytes[:]...)
	}
	return answer, nil
}
