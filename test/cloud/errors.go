package cloud

import "fmt"

// Error is an API error as the SDK sees it: AWS's code, and the HTTP status that goes with it.
type Error struct {
	Status  int
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// codes are the names that one service has for what can happen in all of them.
type codes struct {
	throttled, denied, internal, unavailable     Error
	unknownKey, expiredKey, badSignature, region Error
	stale, unsigned, incomplete, unknownAction   Error
}

const (
	msgSignature = "The request signature we calculated does not match the signature you provided. Check your AWS " +
		"Secret Access Key and signing method. Consult the service documentation for details."
	msgAuthFailure = "AWS was not able to validate the provided access credentials"
	msgToken       = "The security token included in the request is invalid."
	msgExpired     = "The security token included in the request is expired"
	msgUnsigned    = "Request is missing Authentication Token"
	msgRate        = "Rate exceeded"
)

var ec2Codes = codes{
	throttled:     Error{503, "RequestLimitExceeded", "Request limit exceeded."},
	denied:        Error{403, "UnauthorizedOperation", "You are not authorized to perform this operation. "},
	internal:      Error{500, "InternalError", "An internal error has occurred"},
	unavailable:   Error{503, "Unavailable", "The service is unavailable. Please try again shortly."},
	unknownKey:    Error{401, "AuthFailure", msgAuthFailure},
	expiredKey:    Error{400, "RequestExpired", "Request has expired."},
	badSignature:  Error{403, "SignatureDoesNotMatch", msgSignature},
	region:        Error{401, "AuthFailure", msgAuthFailure},
	stale:         Error{400, "RequestExpired", "Request has expired."},
	unsigned:      Error{400, "MissingParameter", "The request must contain the parameter AWSAccessKeyId"},
	incomplete:    Error{400, "IncompleteSignature", ""},
	unknownAction: Error{400, "InvalidAction", "The action is not valid for this web service."},
}

// queryCodes are those of Auto Scaling and STS, and of Route 53, which has its own shape but the same words.
var queryCodes = codes{
	throttled:     Error{400, "Throttling", msgRate},
	denied:        Error{403, "AccessDenied", ""},
	internal:      Error{500, "InternalFailure", "We encountered an internal error. Please try again."},
	unavailable:   Error{503, "ServiceUnavailable", "Service is unable to handle request."},
	unknownKey:    Error{403, "InvalidClientTokenId", msgToken},
	expiredKey:    Error{403, "ExpiredToken", msgExpired},
	badSignature:  Error{403, "SignatureDoesNotMatch", msgSignature},
	region:        Error{403, "SignatureDoesNotMatch", "Credential should be scoped to a valid region."},
	stale:         Error{403, "SignatureDoesNotMatch", ""},
	unsigned:      Error{403, "MissingAuthenticationToken", msgUnsigned},
	incomplete:    Error{400, "IncompleteSignature", ""},
	unknownAction: Error{400, "InvalidAction", "Could not find operation"},
}

var ssmCodes = codes{
	throttled:     Error{400, "ThrottlingException", msgRate},
	denied:        Error{400, "AccessDeniedException", ""},
	internal:      Error{500, "InternalServerError", "An error occurred on the server side."},
	unavailable:   Error{503, "ServiceUnavailableException", "Service is unable to handle request."},
	unknownKey:    Error{400, "UnrecognizedClientException", msgToken},
	expiredKey:    Error{400, "ExpiredTokenException", msgExpired},
	badSignature:  Error{400, "InvalidSignatureException", msgSignature},
	region:        Error{400, "InvalidSignatureException", "Credential should be scoped to a valid region."},
	stale:         Error{400, "InvalidSignatureException", ""},
	unsigned:      Error{400, "MissingAuthenticationTokenException", msgUnsigned},
	incomplete:    Error{400, "IncompleteSignatureException", ""},
	unknownAction: Error{400, "UnknownOperationException", ""},
}

// kmsCodes are SSM's but for what goes wrong inside.
var kmsCodes = func() codes {
	c := ssmCodes
	c.internal = Error{500, "KMSInternalException", "The request was rejected because an internal exception occurred."}
	c.unavailable = Error{503, "DependencyTimeoutException", "The system timed out while trying to fulfill the request."}
	return c
}()
