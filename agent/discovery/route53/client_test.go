package route53

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"rekindle/agent/aws"
)

// wire keeps the last request and answers none.
type wire struct {
	last  *http.Request
	calls int
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.last = r
	w.calls++
	return nil, errors.New("no network here")
}

func TestEndpointAndSigningRegionOfEachPartition(t *testing.T) {
	own := map[string]string{"route53": "https://vpce-1.example"}
	for name, tt := range map[string]struct {
		options      aws.Options
		host, region string
	}{
		"aws":                {aws.Options{Region: "eu-central-1", Partition: "aws", DNSSuffix: "amazonaws.com"}, "route53.amazonaws.com", "us-east-1"},
		"China, Beijing":     {aws.Options{Region: "cn-north-1", Partition: "aws-cn", DNSSuffix: "amazonaws.com.cn"}, "route53.amazonaws.com.cn", "cn-northwest-1"},
		"China, Ningxia":     {aws.Options{Region: "cn-northwest-1", Partition: "aws-cn", DNSSuffix: "amazonaws.com.cn"}, "route53.amazonaws.com.cn", "cn-northwest-1"},
		"GovCloud, east":     {aws.Options{Region: "us-gov-east-1", Partition: "aws-us-gov", DNSSuffix: "amazonaws.com"}, "route53.us-gov.amazonaws.com", "us-gov-west-1"},
		"GovCloud, west":     {aws.Options{Region: "us-gov-west-1", Partition: "aws-us-gov", DNSSuffix: "amazonaws.com"}, "route53.us-gov.amazonaws.com", "us-gov-west-1"},
		"isolated":           {aws.Options{Region: "us-iso-west-1", Partition: "aws-iso", DNSSuffix: "c2s.ic.gov"}, "route53.c2s.ic.gov", "us-iso-east-1"},
		"unknown to the SDK": {aws.Options{Region: "xx-hidden-1", Partition: "aws-hidden", DNSSuffix: "cloud.hidden"}, "route53.cloud.hidden", "xx-hidden-1"},
		"own, in China":      {aws.Options{Region: "cn-north-1", Partition: "aws-cn", Endpoints: own}, "vpce-1.example", "cn-northwest-1"},
		"own, in GovCloud":   {aws.Options{Region: "us-gov-east-1", Partition: "aws-us-gov", Endpoints: own}, "vpce-1.example", "us-gov-west-1"},
		"own, in aws":        {aws.Options{Region: "eu-central-1", Partition: "aws", Endpoints: own}, "vpce-1.example", "us-east-1"},
	} {
		t.Run(name, func(t *testing.T) {
			laptop(t)
			w := new(wire)
			tt.options.Transport = w
			clients, err := aws.New(t.Context(), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			c, err := NewClient(t.Context(), clients)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = c.Zone(t.Context(), "Z1"); err == nil || w.last == nil {
				t.Fatal(err)
			}
			if w.last.URL.Host != tt.host {
				t.Errorf("host %s, want %s", w.last.URL.Host, tt.host)
			}
			if scope := w.last.Header.Get("Authorization"); !strings.Contains(scope, "/"+tt.region+"/route53/aws4_request") {
				t.Errorf("signed for %s, want %s", scope, tt.region)
			}
			if w.calls != 1 {
				t.Errorf("%d requests for one call: retries are the keeper's affair", w.calls)
			}
		})
	}
}

// laptop keeps the credentials and settings of whoever runs the tests out of them.
func laptop(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PROFILE": "", "AWS_REGION": "",
		"AWS_CA_BUNDLE": "", "AWS_ENDPOINT_URL": "", "AWS_MAX_ATTEMPTS": "", "AWS_USE_FIPS_ENDPOINT": "", "AWS_USE_DUALSTACK_ENDPOINT": "",
	} {
		t.Setenv(name, value)
	}
}
