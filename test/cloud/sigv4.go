package cloud

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const algorithm = "AWS4-HMAC-SHA256"

// scope is what a request says about its own signature, in a header or, presigned, in the query string.
type scope struct {
	key, date, region, service string
	signed                     []string // header names
	signature, token, time     string
	presigned                  bool
	expires                    time.Duration
}

func parseScope(r *http.Request) scope {
	var s scope
	var credential, signed string
	if q := r.URL.Query(); q.Get("X-Amz-Algorithm") == algorithm {
		credential, signed, s.signature = q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Signature")
		s.token, s.time, s.presigned = q.Get("X-Amz-Security-Token"), q.Get("X-Amz-Date"), true
		if seconds, err := strconv.Atoi(q.Get("X-Amz-Expires")); err == nil {
			s.expires = time.Duration(seconds) * time.Second
		} else {
			s.expires = 15 * time.Minute
		}
	} else if rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), algorithm+" "); ok {
		for _, field := range strings.Split(rest, ",") {
			switch name, value, _ := strings.Cut(strings.TrimSpace(field), "="); name {
			case "Credential":
				credential = value
			case "SignedHeaders":
				signed = value
			case "Signature":
				s.signature = value
			}
		}
		s.token, s.time = r.Header.Get("X-Amz-Security-Token"), r.Header.Get("X-Amz-Date")
	}
	parts := strings.Split(credential, "/")
	if len(parts) == 5 && parts[4] == "aws4_request" {
		s.key, s.date, s.region, s.service = parts[0], parts[1], parts[2], parts[3]
	}
	s.signed = strings.Split(signed, ";")
	return s
}

// authenticate checks key, scope, age and signature, in that order; the errors are the service's own.
func (a *call) authenticate() error {
	s, codes := a.scope, a.service.codes
	if s.key == "" {
		return &codes.unsigned
	}
	if a.caller == nil || a.caller.credentials.SessionToken != s.token {
		return &codes.unknownKey
	}
	if e := a.caller.credentials.Expiration; !e.IsZero() && !a.now().Before(e) {
		return &codes.expiredKey
	}
	global := a.service.name == "route53" && s.region == a.partition.dns
	if s.region != a.opts.Region && !global {
		return &codes.region
	}
	if s.service != a.service.name {
		e := codes.badSignature
		e.Message = fmt.Sprintf("Credential should be scoped to correct service: '%s'. ", a.service.name)
		return &e
	}
	if !hmac.Equal([]byte(s.signature), []byte(sign(a.http, a.body, s, a.caller.credentials.SecretAccessKey))) {
		return &codes.badSignature
	}
	if !a.checkTime {
		return nil
	}
	signed, err := time.Parse("20060102T150405Z", s.time)
	if err != nil {
		return &codes.badSignature
	}
	age, limit := a.now().Sub(signed), 15*time.Minute
	if s.presigned {
		limit = s.expires
	}
	if age > limit || age < -15*time.Minute {
		return &codes.stale
	}
	return nil
}

// sign computes the signature that the request should have.
func sign(r *http.Request, body []byte, s scope, secret string) string {
	query := r.URL.Query()
	query.Del("X-Amz-Signature")
	var headers strings.Builder
	for _, name := range s.signed {
		fmt.Fprintf(&headers, "%s:%s\n", name, headerValue(r, name))
	}
	canonical := strings.Join([]string{
		r.Method,
		escape(r.URL.EscapedPath()),
		strings.ReplaceAll(query.Encode(), "+", "%20"),
		headers.String(),
		strings.Join(s.signed, ";"),
		digest(body),
	}, "\n")
	credential := strings.Join([]string{s.date, s.region, s.service, "aws4_request"}, "/")
	text := strings.Join([]string{algorithm, s.time, credential, digest([]byte(canonical))}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.date, s.region, s.service, "aws4_request", text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	values := slices.Clone(r.Header.Values(name))
	for i, v := range values {
		values[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(values, ",")
}

// escape escapes a path that is escaped already: every service but S3 signs it so.
func escape(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(url.QueryEscape(parts[i]), "+", "%20")
	}
	return strings.Join(parts, "/")
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
