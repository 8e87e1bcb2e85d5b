package aws

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"rekindle/agent/status"
)

var (
	deniedCodes = []string{
		"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AccessDeniedFault", "Forbidden",
	}
	skewedCodes  = []string{"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
	expiredCodes = []string{"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
	foreignCodes = []string{
		"InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "InvalidAccessKeyId", "InvalidToken",
		"SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "MissingAuthenticationToken",
	}
)

// keyHints say what to do about a key that KMS, or S3 in its name ("KMS.DisabledException"), cannot use.
var keyHints = map[string]string{
	"DisabledException":          "the KMS key is disabled: aws kms enable-key",
	"NotFoundException":          "correct the key in pki.kmsKey: this account and region have none of that name",
	"KMSInvalidStateException":   "the KMS key cannot be used in its state: aws kms describe-key; one that is to be deleted can be kept with cancel-key-deletion",
	"KeyUnavailableException":    "the KMS key cannot be used in its state: aws kms describe-key",
	"IncorrectKeyException":      "it was encrypted under another key than pki.kmsKey: set the one that was used then",
	"InvalidCiphertextException": "what was encrypted is damaged, or was encrypted for another cluster: restore it from an older version of the object",
	"InvalidKeyUsageException":   "name a symmetric key for encryption in pki.kmsKey",
}

// Explain gives an error of a service its reason and says what to do: which IAM action to allow, that the clock is
// wrong, that nothing answers. Errors that have a reason, or that it does not know, come back as they are.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*status.Error](err); ok {
		return err
	}
	c := callOf(err)
	switch {
	case slices.Contains(skewedCodes, c.code), strings.Contains(c.message, "Signature expired"),
		strings.Contains(c.message, "Signature not yet current"):
		return status.Fail(status.ReasonCredentials, "the node's clock is wrong: check `timedatectl` and that NTP "+
			"reaches 169.254.169.123", err)
	case slices.Contains(expiredCodes, c.code):
		return status.Fail(status.ReasonCredentials, "the credentials have expired: on EC2 check that IMDS serves "+
			"new ones, elsewhere log in again", err)
	case slices.Contains(foreignCodes, c.code):
		return status.Fail(status.ReasonCredentials, "the credentials are not valid here: check that they belong to "+
			"this partition and that the node's clock is right", err)
	case c.keyHint() != "":
		return status.Fail(c.denied(), c.keyHint(), err)
	case slices.Contains(deniedCodes, c.code) || c.status == 403:
		hint := "allow " + c.action() + " to the instance's role"
		if c.service == "kms" {
			hint = "allow " + c.action() + " on the key of pki.kmsKey to the instance's role, and see that the key's own policy leaves it to IAM"
		}
		if c.operation == "DescribeTags" {
			hint = "enable tags in instance metadata (--instance-metadata-tags enabled), or " + hint
		}
		return status.Fail(c.denied(), hint, err)
	case c.code == "NoSuchBucket":
		return status.Fail(status.ReasonStoreUnreached, "correct the bucket's name in `store` or `mirrors`", err)
	case c.code == "PermanentRedirect", c.code == "AuthorizationHeaderMalformed", c.service == "s3" && c.status == 301:
		return status.Fail(status.ReasonStoreUnreached, "the bucket is in another region: name it in `aws.region`", err)
	case throttled(c.code):
		return status.Fail(c.silent(), "the account's request rate is used up: see which client causes it in "+
			"CloudTrail; the agent tries again", err)
	case unanswered(err):
		return status.Fail(c.silent(), "nothing answers from this subnet: check the route table, the security groups "+
			"and the VPC endpoint of "+c.name(), err)
	}
	return err
}

// explainCredentials is Explain for what happens before a request is signed.
func explainCredentials(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[*status.Error](err); ok {
		return err
	}
	hint := ""
	if errors.Is(err, ErrNotFound) {
		hint = "attach an instance profile: aws ec2 associate-iam-instance-profile"
	} else if api, ok := errors.AsType[smithy.APIError](err); ok && strings.HasPrefix(api.ErrorCode(), "AssumeRole") {
		hint = "let EC2 assume the role: its trust policy must name the EC2 service principal of this partition"
	}
	return status.Fail(status.ReasonCredentials, hint, err)
}

// call is what is known of a request that failed.
type call struct {
	service, operation string
	code, message      string
	status             int
}

func callOf(err error) call {
	var c call
	if op, ok := errors.AsType[*smithy.OperationError](err); ok {
		c.service, c.operation = serviceName(op.ServiceID), op.OperationName
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		c.code, c.message = api.ErrorCode(), api.ErrorMessage()
	}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		c.status = response.HTTPStatusCode()
	}
	return c
}

func (c call) name() string {
	if c.service == "" {
		return "the service"
	}
	return c.service
}

// namedAction is how newer services and KMS name the action that a policy lacks.
var namedAction = regexp.MustCompile(`\b[a-z0-9]+:[A-Z][A-Za-z]+\b`)

// action is the IAM action to allow. For S3 operations and actions differ.
func (c call) action() string {
	if _, after, ok := strings.Cut(c.message, "not authorized to perform: "); ok {
		if named := namedAction.FindString(after); named != "" {
			return named
		}
	}
	if c.service == "s3" {
		switch c.operation {
		case "HeadObject":
			return "s3:GetObject (and s3:ListBucket, without which a missing object is refused, too)"
		case "GetObject":
			return "s3:GetObject and s3:ListBucket, and kms:Decrypt when the bucket has a KMS key,"
		case "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "CopyObject":
			return "s3:PutObject, and kms:GenerateDataKey when the bucket has a KMS key,"
		case "ListObjectsV2", "ListObjects", "HeadBucket":
			return "s3:ListBucket"
		}
	}
	if c.service == "" {
		return "the request"
	}
	return c.service + ":" + c.operation
}

func (c call) denied() status.Reason {
	switch {
	case c.service == "s3":
		return status.ReasonStoreDenied
	case c.service == "kms":
		return status.ReasonPKIBlocked
	case c.operation == "DescribeTags":
		return status.ReasonTagsDenied
	}
	return status.ReasonCredentials
}

// keyHint is what to do about a key that cannot be used, "" when that is not the matter.
func (c call) keyHint() string {
	code, ofStore := strings.CutPrefix(c.code, "KMS.")
	if !ofStore && c.service != "kms" {
		return ""
	}
	return keyHints[code]
}

func (c call) silent() status.Reason {
	if c.service == "s3" {
		return status.ReasonStoreUnreached
	}
	return status.ReasonDeadline
}

func throttled(code string) bool {
	_, ok := retry.DefaultThrottleErrorCodes[code]
	return ok
}

// unanswered tells that no answer came from the network, as opposed to a bad one.
func unanswered(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// Denied tells whether err is a service's refusal for want of a permission.
func Denied(err error) bool { return slices.Contains(deniedCodes, callOf(err).code) }
