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

// skew is how far a signature's time may be from the cloud's, before and after. Presigned requests have no other life:
// S3 alone looks at X-Amz-Expires (aws/aws-sdk-go#2167).
const skew = 15 * time.Minute

// scope is what a request says about its own signature, in a header or, presigned, in the query string.
type scope struct {
	key, date, region, service string
	signed                     []string // header names
	signature, token, time     string
	flaw                       string // why it is no signature; empty: it may be one
}

// presignedParameters must be there once each.
var presignedParameters = []string{"X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"}

func parseScope(r *http.Request) scope {
	var s scope
	var credential, signed string
	if q := r.URL.Query(); q.Has("X-Amz-Algorithm") {
		s.flaw = presignedFlaw(r, q)
		credential, signed, s.signature = q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Signature")
		s.token, s.time = q.Get("X-Amz-Security-Token"), q.Get("X-Amz-Date")
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
	} else {
		return s
	}
	parts := strings.Split(credential, "/")
	if len(parts) == 5 && parts[4] == "aws4_request" {
		s.key, s.date, s.region, s.service = parts[0], parts[1], parts[2], parts[3]
	} else if s.flaw == "" {
		s.flaw = fmt.Sprintf("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", credential)
	}
	s.signed = strings.Split(signed, ";")
	return s
}

// presignedFlaw finds what is wrong with the shape of a presigned request.
func presignedFlaw(r *http.Request, q url.Values) string {
	if got := q.Get("X-Amz-Algorithm"); got != algorithm {
		return fmt.Sprintf("Unsupported AWS 'algorithm': '%s'.", got)
	}
	if r.Header.Get("Authorization") != "" {
		return "'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
	}
	for name, values := range q {
		if strings.HasPrefix(name, "X-Amz-") && len(values) > 1 {
			return fmt.Sprintf("Duplicate query-string parameter '%s'.", name)
		}
	}
	for _, name := range presignedParameters {
		if q.Get(name) == "" {
			return fmt.Sprintf("AWS query-string parameters must include '%s'. Re-examine the query-string parameters.", name)
		}
	}
	return ""
}

// with is an error of a service in other words.
func with(e Error, format string, args ...any) *Error {
	e.Message = fmt.Sprintf(format, args...)
	return &e
}

// authenticate checks shape, key, scope, headers, signature and age, in that order; the errors are the service's own.
func (a *call) authenticate() error {
	s, codes := a.scope, a.service.codes
	switch {
	case s.flaw != "":
		return with(codes.incomplete, "%s", s.flaw)
	case s.key == "":
		return &codes.unsigned
	case a.caller == nil || a.caller.credentials.SessionToken != s.token:
		return &codes.unknownKey
	}
	if e := a.caller.credentials.Expiration; !e.IsZero() && !a.now().Before(e) {
		return &codes.expiredKey
	}
	signed, err := time.Parse("20060102T150405Z", s.time)
	if err != nil {
		return with(codes.incomplete, "Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", s.time)
	}
	global := a.service.name == "route53" && s.region == a.partition.dns
	switch day := signed.Format("20060102"); {
	case s.region != a.opts.Region && !global:
		return &codes.region
	case s.service != a.service.name:
		return with(codes.badSignature, "Credential should be scoped to correct service: '%s'. ", a.service.name)
	case s.date != day:
		return with(codes.badSignature, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "+
			"'%s' != '%s', from '%s'.", s.date, day, s.time)
	case !slices.Contains(s.signed, "host"):
		return with(codes.badSignature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	if !hmac.Equal([]byte(s.signature), []byte(sign(a.http, a.body, s, a.caller.credentials.SecretAccessKey))) {
		return &codes.badSignature
	}
	return a.checkAge(signed)
}

// checkAge refuses what was signed too long ago, or in the future.
func (a *call) checkAge(signed time.Time) error {
	if !a.checkTime {
		return nil
	}
	const layout = "20060102T150405Z"
	now, stale := a.now().UTC(), a.service.codes.stale
	limit, words := now.Add(-skew), "Signature expired: %s is now earlier than %s (%s - 15 min.)"
	if signed.After(now) {
		limit, words = now.Add(skew), "Signature not yet current: %s is still later than %s (%s + 15 min.)"
	}
	if age := now.Sub(signed); age <= skew && age >= -skew {
		return nil
	}
	if stale.Message != "" { // EC2 has one sentence for both
		return &stale
	}
	return with(stale, words, signed.Format(layout), limit.Format(layout), now.Format(layout))
}

// sign computes the signature that the request should have.
func sign(r *http.Request, body []byte, s scope, secret string) string {
	query := r.URL.Query()
	query.Del("X-Amz-Signature")
	var headers strings.Builder
	for _, name := range s.signed { // one that did not come counts as empty
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
