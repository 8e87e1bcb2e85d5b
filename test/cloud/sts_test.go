package cloud_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"rekindle/test/cloud"
)

func TestCallerIdentity(t *testing.T) {
	for region, want := range map[string]string{
		"cn-north-1":    "arn:aws-cn:sts::123456789012:assumed-role/minions/",
		"us-gov-west-1": "arn:aws-us-gov:sts::123456789012:assumed-role/minions/",
		"eu-central-1":  "arn:aws:sts::123456789012:assumed-role/minions/",
	} {
		r := newRegion(t, cloud.Options{Region: region})
		i, other := r.launch(t, cloud.InstanceSpec{Role: "minions"}), r.launch(t, cloud.InstanceSpec{Role: "minions"})

		// The whole way: IMDS hands out the credentials and STS knows whose they are.
		config := r.admin()
		config.Credentials = ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = r.imds(t, i.ID) })
		out := must[*sts.GetCallerIdentityOutput](t)(sts.NewFromConfig(config).GetCallerIdentity(t.Context(), nil))
		equal(t, "arn", aws.ToString(out.Arn), want+i.ID)
		equal(t, "account", aws.ToString(out.Account), r.AccountID())

		out = must[*sts.GetCallerIdentityOutput](t)(r.sts(r.Credentials(other.ID)).GetCallerIdentity(t.Context(), nil))
		equal(t, "arn", aws.ToString(out.Arn), want+other.ID)
		equal(t, "requests of the second", r.Counts()[cloud.Counter{Instance: other.ID, Service: "sts", Action: "GetCallerIdentity"}], 1)
	}
}

func TestPresignedIdentity(t *testing.T) {
	r := newRegion(t, cloud.Options{})
	i := r.launch(t, cloud.InstanceSpec{Role: "minions"})
	client := sts.NewPresignClient(r.sts(r.Credentials(i.ID)))
	signed := must[*v4.PresignedHTTPRequest](t)(client.PresignGetCallerIdentity(t.Context(), nil))
	status, _, body := request(t, signed.Method, signed.URL, "Accept", "application/json")
	equal(t, "status", status, 200)
	if want := `"Arn":"arn:aws-cn:sts::123456789012:assumed-role/minions/` + i.ID + `"`; !strings.Contains(body, want) {
		t.Errorf("body %s lacks %s", body, want)
	}
	status, _, _ = request(t, signed.Method, signed.URL+"&X-Extra=1")
	equal(t, "altered", status, 403)
}

func TestAuthentication(t *testing.T) {
	r := newRegion(t, cloud.Options{CredentialTTL: time.Hour})
	i := r.launch(t, cloud.InstanceSpec{Role: "minions"})
	good := r.Credentials(i.ID)
	identify := func(c cloud.Credentials, change ...func(*sts.Options)) error {
		_, err := r.sts(c).GetCallerIdentity(t.Context(), nil, change...)
		return err
	}
	check(t, identify(good))
	wantCode(t, identify(good, func(o *sts.Options) { o.Region = "us-east-1" }), "SignatureDoesNotMatch")
	bad := good
	bad.SecretAccessKey += "x"
	wantCode(t, identify(bad), "SignatureDoesNotMatch")
	bad = good
	bad.SessionToken = "x"
	wantCode(t, identify(bad), "InvalidClientTokenId")
	bad = good
	bad.AccessKeyID = "ASIAUNKNOWN"
	wantCode(t, identify(bad), "InvalidClientTokenId")

	r.clock.advance(51 * time.Minute)
	next := r.Credentials(i.ID)
	if next.AccessKeyID == good.AccessKeyID {
		t.Error("credentials that are about to expire were not renewed")
	}
	check(t, identify(good))
	r.clock.advance(9 * time.Minute)
	wantCode(t, identify(good), "ExpiredToken")
	check(t, identify(next))

	status, _, _ := request(t, "GET", r.url+"/?Action=GetCallerIdentity&Version=2011-06-15")
	equal(t, "unsigned", status, 403)
}

const emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
