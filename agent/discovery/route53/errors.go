package route53

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	rekindleaws "rekindle/agent/aws"
	"rekindle/agent/status"
)

// State is how Route 53 answers.
type State string

// The states.
const (
	Unknown   State = "unknown" // not asked yet
	Ready     State = "ready"
	Missing   State = "missing"   // no such service here, or no such zone
	Unfit     State = "unfit"     // there is a zone, and it cannot be used: public, ambiguous, another name
	Denied    State = "denied"    // IAM, or credentials
	Throttled State = "throttled" // the account's request rate is used up
	Silent    State = "silent"    // no answer, or a connection that breaks
	Failing   State = "failing"   // an answer that is an error
)

// fault is an error whose state is known from where it happened.
type fault struct {
	state State
	error
}

func (f fault) Unwrap() error { return f.error }

func missing(hint, format string, args ...any) error {
	return fault{Missing, status.Fail(status.ReasonConfigInvalid, hint, fmt.Errorf(format, args...))}
}

func unfit(hint, format string, args ...any) error {
	return fault{Unfit, status.Fail(status.ReasonConfigInvalid, hint, fmt.Errorf(format, args...))}
}

// conflicting tells whether a batch failed because the records are not what was read.
func conflicting(err error) bool { return code(err) == "InvalidChangeBatch" }

func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// stateOf sorts an error.
func stateOf(err error) State {
	if err == nil {
		return Ready
	}
	if f, ok := errors.AsType[fault](err); ok {
		return f.state
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return Missing
	}
	name := code(err)
	if _, known := retry.DefaultThrottleErrorCodes[name]; known || name == "PriorRequestNotComplete" {
		return Throttled
	}
	refused := []string{"InvalidClientTokenId", "ExpiredToken", "SignatureDoesNotMatch", "MissingAuthenticationToken", "IncompleteSignature"}
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	ok = ok && response.HTTPStatusCode() > 0 // 0: there was none
	switch {
	case rekindleaws.Denied(err), slices.Contains(refused, name), ok && response.HTTPStatusCode() == 403:
		return Denied
	case ok, name != "":
		return Failing
	}
	if reason, _ := status.ReasonOf(err); reason == status.ReasonCredentials {
		return Denied
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, context.DeadlineExceeded) {
		return Silent
	}
	return Failing
}

// explain gives an error of a request its hint.
func explain(err error) error {
	if code(err) == "NoSuchHostedZone" {
		return missing("correct discovery.zoneID: this account has no hosted zone of that id", "%w", err)
	}
	if batch, ok := errors.AsType[*types.InvalidChangeBatch](err); ok && len(batch.Messages) > 0 {
		return fmt.Errorf("%w: %s", err, strings.Join(batch.Messages, ", ")) // its own text has none of them
	}
	return rekindleaws.Explain(err)
}
