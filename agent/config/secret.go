package config

import (
	"regexp"
	"strings"
)

var (
	privateKey = regexp.MustCompile(`-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----`)
	accessKey  = regexp.MustCompile(`\b(AKIA|ASIA)[A-Z2-7]{16}\b`)
	// minisign's secret keys begin with the algorithms Ed, Sc (scrypt) or none, and B2.
	minisignKey = regexp.MustCompile(`\bRW(RTY0Iy|QAAEIy)[A-Za-z0-9+/]{100,}|minisign (encrypted )?secret key|minisign encrypted private key`)
	secretName  = regexp.MustCompile(`(?i)(password|passwd|secret|token|private_?key|credential|access_?key)`)
)

// secret names the kind of secret that text contains, "" when it contains none that can be recognized.
func secret(text string) string {
	// Every text of a configuration comes through here, and most are ruled out without a regular expression.
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case has("PRIVATE KEY") && privateKey.MatchString(text):
		return "a private key"
	case (has("AKIA") || has("ASIA")) && accessKey.MatchString(text):
		return "an AWS access key"
	case (has("RW") || has("minisign ")) && minisignKey.MatchString(text):
		return "a minisign secret key"
	}
	return ""
}
