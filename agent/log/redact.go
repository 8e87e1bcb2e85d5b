package log

import (
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// secretWords mark a key whose value is a secret. "key" alone is none: it is an object's key in S3 far more often.
var secretWords = []string{
	"password", "passwd", "passphrase", "secret", "token", "credential", "privatekey", "apikey", "accesskey",
	"sessionkey", "gossipkey", "authorization", "cookie",
}

var dropPunctuation = strings.NewReplacer("-", "", "_", "", ".", "", " ", "")

func secretKey(key string) bool {
	key = dropPunctuation.Replace(strings.ToLower(key))
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(key, word) })
}

// A presigned URL is a credential for as long as it is valid, and errors of HTTP clients carry URLs.
var presigned = regexp.MustCompile(`(?i)(X-Amz-(?:Signature|Security-Token|Credential)=)[^&\s"']+`)

// A password in a URL: scheme://user:password@host.
var userinfo = regexp.MustCompile(`(://[^/\s:@]*:)[^/\s@]+@`)

// Redact replaces the credentials in the URLs of a text. The log does it by itself; it is for texts that go elsewhere.
func Redact(s string) string {
	if strings.Contains(s, "://") {
		s = userinfo.ReplaceAllString(s, "${1}"+redacted+"@")
	}
	if strings.Contains(s, "mz-") || strings.Contains(s, "MZ-") {
		s = presigned.ReplaceAllString(s, "${1}"+redacted)
	}
	return s
}

// redact is a slog.HandlerOptions.ReplaceAttr. Groups are the names of the groups that the attribute is in.
func redact(groups []string, a slog.Attr) slog.Attr {
	if secretKey(a.Key) || slices.ContainsFunc(groups, secretKey) {
		return slog.String(a.Key, redacted)
	}
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		if s := v.String(); s != "" {
			return slog.String(a.Key, Redact(s))
		}
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			return slog.String(a.Key, Redact(err.Error()))
		}
	}
	return a
}
