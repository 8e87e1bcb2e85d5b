package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// ttl of answers, in seconds: nobody who asks keeps them.
const ttl = 1

// resolver knows the names of a hosts file, and no others. It reads the file at every question, so that a change holds at
// once. Go's own resolver asks it, over a pipe, as if it were the name server; before that it looks into the machine's
// hosts file, which knows nothing of a lab.
func resolver(hosts string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go serve(far, hosts)
		return near, nil
	}}
}

// serve answers questions until the other side closes the connection. Over a stream each message has its length before it
// (RFC 1035, 4.2.2).
func serve(conn net.Conn, hosts string) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		file, readErr := os.ReadFile(hosts)
		reply, err := answer(query, parse(string(file)), readErr == nil)
		if err != nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// parse reads a hosts file: an address and its names on each line (hosts(5)). What is not that is left out.
func parse(file string) map[string][]netip.Addr {
	names := map[string][]netip.Addr{}
	for line := range strings.Lines(file) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		address, err := netip.ParseAddr(words[0])
		if err != nil {
			continue
		}
		for _, name := range words[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			names[name] = append(names[name], address)
		}
	}
	return names
}

// answer is the reply to a query. Of a file that cannot be read it says so (SERVFAIL); a name that is not in it does not
// exist (NXDOMAIN).
func answer(query []byte, names map[string][]netip.Addr, known bool) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := p.Question()
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))
	addresses, found := names[name]
	header.Response, header.Authoritative, header.RecursionAvailable = true, true, true
	switch {
	case !known:
		header.RCode = dnsmessage.RCodeServerFailure
	case !found:
		header.RCode = dnsmessage.RCodeNameError
	}
	reply := dnsmessage.Message{Header: header, Questions: []dnsmessage.Question{question}}
	for _, address := range addresses {
		resource := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: ttl}}
		switch {
		case address.Is4() && question.Type == dnsmessage.TypeA:
			resource.Body = &dnsmessage.AResource{A: address.As4()}
		case address.Is6() && question.Type == dnsmessage.TypeAAAA:
			resource.Body = &dnsmessage.AAAAResource{AAAA: address.As16()}
		default:
			continue
		}
		reply.Answers = append(reply.Answers, resource)
	}
	return reply.Pack()
}
