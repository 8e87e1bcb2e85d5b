package aws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"rekindle/agent/status"
)

func containsAll(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

func ec2Error(code, message string) string {
	return fmt.Sprintf("<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors></Response>", code, message)
}

func s3Error(code, message string) string {
	return fmt.Sprintf("<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

func jsonError(code, message string) string {
	return fmt.Sprintf(`{"__type":%q,"message":%q}`, code, message)
}

// The real clients read the wire's errors, so a change of the SDK's types shows here.
func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		name, service string
		code          int
		body          string
		fail          error
		reason        status.Reason
		words         []string
	}{
		{name: "tags denied", service: "ec2", code: 403, body: ec2Error("UnauthorizedOperation", "You are not authorized"),
			reason: status.ReasonTagsDenied, words: []string{"ec2:DescribeTags", "instance's role"}},
		{name: "action denied", service: "autoscaling", code: 403,
			body:   "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
			reason: status.ReasonCredentials, words: []string{"autoscaling:DescribeAutoScalingGroups"}},
		{name: "object denied", service: "s3", code: 403, body: s3Error("AccessDenied", "Access Denied"),
			reason: status.ReasonStoreDenied, words: []string{"s3:GetObject", "s3:ListBucket", "kms:Decrypt"}},
		{name: "key denied", service: "s3", code: 403, body: s3Error("AccessDenied", "User: arn:aws-cn:sts::1:assumed-role/n/i "+
			"is not authorized to perform: kms:Decrypt on resource: arn:aws-cn:kms:cn-north-1:1:key/k"),
			reason: status.ReasonStoreDenied, words: []string{"allow kms:Decrypt to"}},
		{name: "parameter denied", service: "ssm", code: 400, body: jsonError("AccessDeniedException", "User: u is not "+
			"authorized to perform: ssm:GetParameter on resource: r"),
			reason: status.ReasonCredentials, words: []string{"ssm:GetParameter"}},
		{name: "decryption denied", service: "kms", code: 400, body: jsonError("AccessDeniedException", "The ciphertext refers to "+
			"a customer master key that does not exist, does not exist in this region, or you are not allowed to access."),
			reason: status.ReasonPKIBlocked, words: []string{"allow kms:Decrypt on the key", "key's own policy"}},
		{name: "encryption denied", service: "kms", code: 400, body: jsonError("AccessDeniedException", "User: u is not "+
			"authorized to perform: kms:Encrypt on resource: k because no resource-based policy allows the kms:Encrypt action"),
			reason: status.ReasonPKIBlocked, words: []string{"allow kms:Encrypt on the key"}},
		{name: "key disabled", service: "kms", code: 400, body: jsonError("DisabledException", "k is disabled."),
			reason: status.ReasonPKIBlocked, words: []string{"enable-key"}},
		{name: "no key", service: "kms", code: 400, body: jsonError("NotFoundException", "Alias a is not found."),
			reason: status.ReasonPKIBlocked, words: []string{"pki.kmsKey"}},
		{name: "key to be deleted", service: "kms", code: 400, body: jsonError("KMSInvalidStateException", "k is pending deletion."),
			reason: status.ReasonPKIBlocked, words: []string{"cancel-key-deletion"}},
		{name: "another key", service: "kms", code: 400, body: jsonError("IncorrectKeyException", "The key ID in the request does not identify a CMK"),
			reason: status.ReasonPKIBlocked, words: []string{"another key than pki.kmsKey"}},
		{name: "damaged ciphertext", service: "kms", code: 400, body: jsonError("InvalidCiphertextException", ""),
			reason: status.ReasonPKIBlocked, words: []string{"damaged", "older version"}},
		{name: "key of the store disabled", service: "s3", code: 400, body: s3Error("KMS.DisabledException", "k is disabled."),
			reason: status.ReasonStoreDenied, words: []string{"enable-key"}},
		{name: "no such parameter", service: "ssm", code: 400, body: jsonError("NotFoundException", ""), reason: status.ReasonUnknown},
		{name: "clock", service: "s3", code: 403, body: s3Error("RequestTimeTooSkewed", "The difference is too large."),
			reason: status.ReasonCredentials, words: []string{"clock", "169.254.169.123"}},
		{name: "clock, by signature", service: "sts", code: 403, body: "<ErrorResponse><Error><Code>SignatureDoesNotMatch" +
			"</Code><Message>Signature expired: 1 is now earlier than 2</Message></Error></ErrorResponse>",
			reason: status.ReasonCredentials, words: []string{"169.254.169.123"}},
		{name: "expired token", service: "s3", code: 400, body: s3Error("ExpiredToken", "expired"),
			reason: status.ReasonCredentials, words: []string{"expired"}},
		{name: "another partition's keys", service: "ec2", code: 401, body: ec2Error("AuthFailure", "not able to validate"),
			reason: status.ReasonCredentials, words: []string{"partition"}},
		{name: "no bucket", service: "s3", code: 404, body: s3Error("NoSuchBucket", "no"),
			reason: status.ReasonStoreUnreached, words: []string{"bucket"}},
		{name: "bucket elsewhere", service: "s3", code: 301, body: s3Error("PermanentRedirect", "use the endpoint"),
			reason: status.ReasonStoreUnreached, words: []string{"region"}},
		{name: "store throttles", service: "s3", code: 503, body: s3Error("SlowDown", "reduce"),
			reason: status.ReasonStoreUnreached, words: []string{"request rate"}},
		{name: "refused", service: "s3", fail: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
			reason: status.ReasonStoreUnreached, words: []string{"route table", "VPC endpoint of s3"}},
		{name: "no name", service: "ec2", fail: &net.DNSError{Err: "no such host", Name: "ec2.cn-north-1"},
			reason: status.ReasonDeadline, words: []string{"VPC endpoint of ec2"}},
		{name: "black hole", service: "ec2", fail: context.DeadlineExceeded,
			reason: status.ReasonDeadline, words: []string{"security groups"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			laptop(t)
			synctest.Test(t, func(t *testing.T) {
				c := newClients(t, Options{Region: "cn-north-1", Transport: &wire{
					do: func(_ int, req *http.Request) (*http.Response, error) {
						if tt.fail != nil {
							return nil, tt.fail
						}
						return answer(req, tt.code, tt.body), nil
					},
				}})
				err := calls(t.Context(), c)[tt.service]()
				wantReason(t, Explain(err), tt.reason, tt.words...)
				if want := strings.Contains(tt.name, "denied"); Denied(err) != want {
					t.Errorf("Denied is %t: %v", !want, err)
				}
			})
		})
	}
}

func TestExplainLeavesTheRest(t *testing.T) {
	if Explain(nil) != nil {
		t.Error("nil is an error")
	}
	for _, err := range []error{
		errors.New("something else"), context.Canceled,
		status.Fail(status.ReasonAssetMissing, "publish it", errors.New("403")),
	} {
		if got := Explain(err); !errors.Is(got, err) || got.Error() != err.Error() {
			t.Errorf("%v became %v", err, got)
		}
	}
}
