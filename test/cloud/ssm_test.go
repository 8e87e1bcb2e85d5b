package cloud_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"rekindle/test/cloud"
)

func TestParameters(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	c := r.ssm()
	put := func(name, value, kind string, overwrite bool) error {
		in := &ssm.PutParameterInput{Name: aws.String(name), Value: aws.String(value), Overwrite: aws.Bool(overwrite)}
		in.Type = "SecureString"
		if kind != "" {
			in.Type = "String"
		}
		_, err := c.PutParameter(t.Context(), in)
		return err
	}
	check(t, put("/a/key", "secret", "", false))
	wantCode(t, put("/a/key", "other", "", false), "ParameterAlreadyExists")
	check(t, put("/a/key", "second", "", true))
	get := func(decrypt bool) *ssm.GetParameterOutput {
		return must[*ssm.GetParameterOutput](t)(c.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/a/key"), WithDecryption: aws.Bool(decrypt)}))
	}
	equal(t, "decrypted", aws.ToString(get(true).Parameter.Value), "second")
	equal(t, "version", get(true).Parameter.Version, 2)
	equal(t, "arn", aws.ToString(get(true).Parameter.ARN), "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/a/key")
	equal(t, "modified", aws.ToTime(get(true).Parameter.LastModifiedDate).Equal(r.clock.now()), true)
	if aws.ToString(get(false).Parameter.Value) == "second" {
		t.Error("a SecureString was readable without decryption")
	}
	_, err := c.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/none")})
	wantCode(t, err, "ParameterNotFound")
	both := must[*ssm.GetParametersOutput](t)(c.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/a/key", "/none"}}))
	equal(t, "found", len(both.Parameters), 1)
	equal(t, "missing", both.InvalidParameters[0], "/none")
}

func TestParametersByPath(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	for n := range 12 {
		r.SetParameter(fmt.Sprintf("/c/%02d", n), "x", false)
	}
	r.SetParameter("/c/deep/1", "x", true)
	r.SetParameter("/cc", "x", false)
	for recursive, want := range map[bool]int{false: 12, true: 13} {
		n := 0
		in := &ssm.GetParametersByPathInput{Path: aws.String("/c"), Recursive: aws.Bool(recursive)}
		for p := ssm.NewGetParametersByPathPaginator(r.ssm(), in); p.HasMorePages(); {
			n += len(must[*ssm.GetParametersByPathOutput](t)(p.NextPage(t.Context())).Parameters)
		}
		equal(t, fmt.Sprintf("recursive %v", recursive), n, want)
	}
}
