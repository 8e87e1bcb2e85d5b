package join

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	stsTime      = 10 * time.Second // for one answer
	maxSTSAnswer = 64 << 10
)

// bound are the headers that a proof signs besides Host.
type bound struct{ body, cluster, nonce string }

// identify has STS say whose signature the proof is, and returns the caller's ARN.
//
// The request is the master's own: its URL is that of its STS with the parameters that were checked, and the headers hold
// what the master itself received. So nothing but the signature decides, and it must be one over exactly this.
func (s *Server) identify(ctx context.Context, p proof, b bound) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stsTime)
	defer cancel()
	target := *s.sts
	target.RawQuery = p.query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return "", errors.New("sts: no request can be made of the proof")
	}
	req.Header.Set(BodyHeader, b.body)
	req.Header.Set(ClusterHeader, b.cluster)
	req.Header.Set(NonceHeader, b.nonce)
	res, err := s.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("sts: %w", withoutURL(err))
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		return "", refuse(Redirected, "sts: status %d", res.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxSTSAnswer+1))
	if err != nil {
		return "", fmt.Errorf("sts: %w", withoutURL(err))
	}
	if len(data) > maxSTSAnswer {
		return "", fmt.Errorf("sts: an answer of more than %d bytes", maxSTSAnswer)
	}
	if res.StatusCode != http.StatusOK {
		return "", stsError(res.StatusCode, data)
	}
	return callerARN(data)
}

// withoutURL drops what net/http puts before an error: the URL, which holds the session token.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// stsError sorts STS' answer by its code. Of its message nothing is repeated: to a wrong signature STS answers with the
// text that should have been signed, session token included.
func stsError(status int, data []byte) error {
	var answer struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Code    string   `xml:"Error>Code"`
		Message string   `xml:"Error>Message"`
	}
	if err := xml.Unmarshal(data, &answer); err != nil || answer.Code == "" {
		return fmt.Errorf("sts: status %d, and no error of STS", status)
	}
	code := answer.Code
	switch {
	case status >= 500, status == http.StatusTooManyRequests, strings.Contains(code, "Throttl"),
		code == "RequestLimitExceeded", code == "TooManyRequestsException", code == "RegionDisabledException":
		// Throttling comes with status 400 (aws-iam-authenticator #382).
		return fmt.Errorf("sts: status %d: %.40s", status, code)
	case code == "SignatureDoesNotMatch" && (strings.HasPrefix(answer.Message, "Signature expired") ||
		strings.HasPrefix(answer.Message, "Signature not yet current")):
		// https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
		return refuse(Late, "sts: status %d: %s, for its time", status, code)
	case code == "ExpiredToken", code == "ExpiredTokenException", code == "RequestExpired", code == "RequestInTheFuture":
		return refuse(Late, "sts: status %d: %s", status, code)
	case code == "SignatureDoesNotMatch", code == "InvalidSignatureException":
		return refuse(Altered, "sts: status %d: %s", status, code)
	}
	return refuse(BadProof, "sts: status %d: %.40q", status, code)
}

// callerARN reads the answer to GetCallerIdentity: one result with one ARN, and nothing after it.
func callerARN(data []byte) (string, error) {
	var answer struct {
		XMLName xml.Name `xml:"GetCallerIdentityResponse"`
		Results []struct {
			ARN     []string `xml:"Arn"`
			Account []string `xml:"Account"`
		} `xml:"GetCallerIdentityResult"`
	}
	decoder := xml.NewDecoder(bytes.NewReader(bytes.TrimSpace(data)))
	if err := decoder.Decode(&answer); err != nil {
		return "", errors.New("sts: its answer is not that of GetCallerIdentity")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("sts: something stands behind its answer")
	}
	if len(answer.Results) != 1 || len(answer.Results[0].ARN) != 1 || len(answer.Results[0].Account) != 1 {
		return "", errors.New("sts: its answer does not name one caller")
	}
	arn := answer.Results[0].ARN[0]
	if fields := strings.SplitN(arn, ":", 6); len(fields) != 6 || fields[4] != answer.Results[0].Account[0] {
		return "", errors.New("sts: its answer names two accounts")
	}
	return arn, nil
}
