package join

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	signTime = "20060102T150405Z"
	// maxSkew is how far the node's signing time may be from the master's clock.
	maxSkew = 5 * time.Minute
	// maxExpires is what STS itself knows as the limit. STS takes every presigned URL for that long, whatever it says
	// (aws-iam-authenticator #160), so the shorter time that the node chose is kept here.
	maxExpires = 15 * time.Minute
)

// signedHeaders are those that a proof signs: exactly these, since others would have to come from the node.
var signedHeaders = strings.ToLower(strings.Join([]string{"Host", BodyHeader, ClusterHeader, NonceHeader}, ";"))

// proof is what a presigned URL says, after it was checked. It holds a session token: it is never logged.
type proof struct{ query url.Values }

// proofParser knows what a proof must look like here.
type proofParser struct {
	sts        *url.URL // with a path
	parameters map[string]*regexp.Regexp
}

// newProofParser takes the endpoint that proofs must be for. Every parameter that a presigned GetCallerIdentity has is
// listed; there must be each of them once, and no other.
func newProofParser(sts *url.URL, region string) proofParser {
	exactly := func(text string) *regexp.Regexp { return regexp.MustCompile(`\A` + text + `\z`) }
	return proofParser{sts: sts, parameters: map[string]*regexp.Regexp{
		"Action":               exactly("GetCallerIdentity"),
		"Version":              exactly("2011-06-15"),
		"X-Amz-Algorithm":      exactly("AWS4-HMAC-SHA256"),
		"X-Amz-Credential":     exactly(`[0-9A-Za-z_]{4,128}/[0-9]{8}/` + regexp.QuoteMeta(region) + `/sts/aws4_request`),
		"X-Amz-Date":           exactly(`[0-9]{8}T[0-9]{6}Z`),
		"X-Amz-Expires":        exactly(`[1-9][0-9]{0,5}`),
		"X-Amz-SignedHeaders":  exactly(regexp.QuoteMeta(signedHeaders)),
		"X-Amz-Security-Token": exactly(`[!-~]+`), // an instance's credentials always have one
		"X-Amz-Signature":      exactly(`[0-9a-f]{64}`),
	}}
}

// parse reads the values of ProofHeader at the time now.
func (p proofParser) parse(values []string, now time.Time) (proof, error) {
	if len(values) != 1 || values[0] == "" {
		return proof{}, refuse(BadProof, "%d %s headers, and one is needed", len(values), ProofHeader)
	}
	if len(values[0]) > MaxProof {
		return proof{}, refuse(BadProof, "the proof is larger than %d bytes", MaxProof)
	}
	u, err := url.Parse(values[0])
	if err != nil {
		return proof{}, refuse(BadProof, "the proof is no URL") // the error would hold it
	}
	// The master never goes to this URL. It is compared so that a node that asks another STS learns of it.
	if u.Scheme != p.sts.Scheme || u.Host != p.sts.Host || u.EscapedPath() != p.sts.EscapedPath() || u.User != nil ||
		u.Opaque != "" || strings.Contains(values[0], "#") {
		return proof{}, refuse(WrongHost, "the proof is for %.80q, and this master asks %s", u.Scheme+"://"+u.Host, p.sts)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return proof{}, refuse(BadProof, "the proof's query cannot be read")
	}
	for name := range query {
		if p.parameters[name] == nil {
			return proof{}, refuse(BadProof, "the proof has the parameter %.40q, which nothing needs", name)
		}
	}
	for name, pattern := range p.parameters {
		switch values := query[name]; {
		case len(values) != 1:
			return proof{}, refuse(BadProof, "the proof has %s %d times, and once is needed", name, len(values))
		case !pattern.MatchString(values[0]):
			return proof{}, refuse(BadProof, "the proof's %s is not as it must be", name)
		}
	}
	return proof{query}, timely(query, now)
}

// timely checks when the proof was signed. STS does so as well, but more generously.
func timely(query url.Values, now time.Time) error {
	date := query.Get("X-Amz-Date")
	signed, err := time.Parse(signTime, date)
	if err != nil {
		return refuse(BadProof, "the proof's X-Amz-Date is no time")
	}
	if strings.Split(query.Get("X-Amz-Credential"), "/")[1] != date[:8] {
		return refuse(BadProof, "the proof's X-Amz-Date and X-Amz-Credential are of different days")
	}
	seconds, err := strconv.Atoi(query.Get("X-Amz-Expires"))
	if err != nil {
		return refuse(BadProof, "the proof's X-Amz-Expires is no number")
	}
	expires := time.Duration(seconds) * time.Second
	switch age := now.Sub(signed); {
	case expires > maxExpires:
		return refuse(Late, "the proof is for %s, and %s is the longest", expires, maxExpires)
	case age > expires:
		return refuse(Late, "the proof expired %s ago", (age - expires).Round(time.Second))
	case age > maxSkew:
		return refuse(Late, "the proof was signed %s ago", age.Round(time.Second))
	case age < -maxSkew:
		return refuse(Late, "the proof was signed %s in the future", -age.Round(time.Second))
	}
	return nil
}
