package aws

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"go.uber.org/goleak"

	"rekindle/agent/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// laptop is an environment with keys and nothing else.
func laptop(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_USE_FIPS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
		os.Unsetenv(name) // Setenv first, so that the test's end restores it
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	clearIMDSEnv(t)
}

// wire answers in memory, and keeps what was asked.
type wire struct {
	mu   sync.Mutex
	asks []*http.Request
	do   func(n int, req *http.Request) (*http.Response, error)
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	n := len(w.asks)
	w.asks = append(w.asks, req)
	w.mu.Unlock()
	return w.do(n, req)
}

func (w *wire) last() *http.Request { return w.asks[len(w.asks)-1] }

// denied is a quick end for every service.
func denied(_ int, req *http.Request) (*http.Response, error) { return answer(req, 403, ""), nil }

func newClients(t *testing.T, o Options) *Clients {
	t.Helper()
	c, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// calls makes one request to every service.
func calls(ctx context.Context, c *Clients) map[string]func() error {
	return map[string]func() error{
		"s3": func() error {
			_, err := c.S3("").GetObject(ctx, &s3.GetObjectInput{Bucket: new("store"), Key: new("k")})
			return err
		},
		"ec2": func() error { _, err := c.EC2().DescribeTags(ctx, &ec2.DescribeTagsInput{}); return err },
		"ssm": func() error {
			_, err := c.SSM().GetParameter(ctx, &ssm.GetParameterInput{Name: new("/p")})
			return err
		},
		"kms": func() error {
			_, err := c.KMS().Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: []byte("c"), KeyId: new("alias/kube")})
			return err
		},
		"sts": func() error {
			_, err := c.STS().GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			return err
		},
		"autoscaling": func() error {
			_, err := c.AutoScaling().DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
			return err
		},
		"route53": func() error {
			_, err := c.Route53().ListHostedZones(ctx, &route53.ListHostedZonesInput{})
			return err
		},
	}
}

func TestRegionIsRequired(t *testing.T) {
	laptop(t)
	_, err := New(t.Context(), Options{})
	wantReason(t, err, status.ReasonConfigInvalid, "AWS_REGION")

	t.Setenv("AWS_REGION", "eu-west-1")
	if c := newClients(t, Options{}); c.Region() != "eu-west-1" {
		t.Error(c.Region())
	}
	if c := newClients(t, Options{Region: "cn-north-1"}); c.Region() != "cn-north-1" {
		t.Error(c.Region())
	}
}

func TestEndpoints(t *testing.T) {
	for name, tt := range map[string]struct {
		options Options
		env     [2]string
		hosts   map[string]string
	}{
		"China": {
			options: Options{Region: "cn-north-1", DNSSuffix: "amazonaws.com.cn"},
			hosts: map[string]string{
				"s3": "store.s3.cn-north-1.amazonaws.com.cn", "ec2": "ec2.cn-north-1.amazonaws.com.cn",
				"ssm": "ssm.cn-north-1.amazonaws.com.cn", "kms": "kms.cn-north-1.amazonaws.com.cn", "sts": "sts.cn-north-1.amazonaws.com.cn",
				"autoscaling": "autoscaling.cn-north-1.amazonaws.com.cn", "route53": "route53.amazonaws.com.cn",
			},
		},
		"GovCloud": {
			options: Options{Region: "us-gov-west-1", DNSSuffix: "amazonaws.com"},
			hosts: map[string]string{
				"s3": "store.s3.us-gov-west-1.amazonaws.com", "ec2": "ec2.us-gov-west-1.amazonaws.com",
				"sts": "sts.us-gov-west-1.amazonaws.com", "route53": "route53.us-gov.amazonaws.com",
			},
		},
		"isolated, known to the SDK": {
			options: Options{Region: "us-iso-east-1", DNSSuffix: "c2s.ic.gov"},
			hosts:   map[string]string{"s3": "store.s3.us-iso-east-1.c2s.ic.gov", "ec2": "ec2.us-iso-east-1.c2s.ic.gov"},
		},
		"isolated, younger than the SDK": {
			options: Options{Region: "xx-hidden-1", DNSSuffix: "cloud.hidden"},
			hosts: map[string]string{
				"s3": "store.s3.xx-hidden-1.cloud.hidden", "ec2": "ec2.xx-hidden-1.cloud.hidden",
				"ssm": "ssm.xx-hidden-1.cloud.hidden", "kms": "kms.xx-hidden-1.cloud.hidden", "sts": "sts.xx-hidden-1.cloud.hidden",
				"autoscaling": "autoscaling.xx-hidden-1.cloud.hidden", "route53": "route53.cloud.hidden",
			},
		},
		"isolated with FIPS": {
			options: Options{Region: "xx-hidden-1", DNSSuffix: "cloud.hidden"},
			env:     [2]string{"AWS_USE_FIPS_ENDPOINT", "true"},
			hosts: map[string]string{
				"s3": "store.s3-fips.xx-hidden-1.cloud.hidden", "ec2": "ec2-fips.xx-hidden-1.cloud.hidden",
			},
		},
		"FIPS": {
			options: Options{Region: "us-gov-west-1", DNSSuffix: "amazonaws.com"},
			env:     [2]string{"AWS_USE_FIPS_ENDPOINT", "true"},
			hosts:   map[string]string{"s3": "store.s3-fips.us-gov-west-1.amazonaws.com", "kms": "kms-fips.us-gov-west-1.amazonaws.com", "autoscaling": "autoscaling.us-gov-west-1.amazonaws.com"},
		},
		"dual stack": {
			options: Options{Region: "cn-north-1", DNSSuffix: "amazonaws.com.cn"},
			env:     [2]string{"AWS_USE_DUALSTACK_ENDPOINT", "true"},
			hosts:   map[string]string{"s3": "store.s3.dualstack.cn-north-1.amazonaws.com.cn"},
		},
		"the operator's own win": {
			options: Options{
				Region: "cn-north-1", DNSSuffix: "cloud.hidden", PathStyle: true,
				Endpoints: map[string]string{"s3": "https://store.example:9000", "ec2": "https://vpce-1.example", "kms": "https://kms.example"},
			},
			env:   [2]string{"AWS_USE_FIPS_ENDPOINT", "true"},
			hosts: map[string]string{"s3": "store.example:9000", "ec2": "vpce-1.example", "kms": "kms.example", "sts": "sts-fips.cn-north-1.cloud.hidden"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			laptop(t)
			if tt.env[0] != "" {
				t.Setenv(tt.env[0], tt.env[1])
			}
			w := &wire{do: denied}
			tt.options.Transport = w
			c := newClients(t, tt.options)
			all := calls(t.Context(), c)
			for service, want := range tt.hosts {
				if err := all[service](); err == nil || len(w.asks) == 0 {
					t.Fatalf("%s: %v", service, err)
				}
				if got := w.last().URL.Host; got != want {
					t.Errorf("%s: %s, want %s", service, got, want)
				}
			}
		})
	}
}

func TestBucketOfAnotherRegion(t *testing.T) {
	laptop(t)
	w := &wire{do: denied}
	c := newClients(t, Options{Region: "cn-north-1", Transport: w})
	if other := c.S3("cn-northwest-1"); other != c.S3("cn-northwest-1") || c.S3("") != c.S3("cn-north-1") {
		t.Error("clients are not kept")
	}
	_, err := c.S3("cn-northwest-1").GetObject(t.Context(), &s3.GetObjectInput{Bucket: new("store"), Key: new("k")})
	if err == nil || w.last().URL.Host != "store.s3.cn-northwest-1.amazonaws.com.cn" {
		t.Error(err, w.last().URL.Host)
	}
}

func TestRequestsAreCountedByService(t *testing.T) {
	laptop(t)
	synctest.Test(t, func(t *testing.T) {
		w := &wire{do: func(n int, req *http.Request) (*http.Response, error) {
			if n < 3 {
				return answer(req, 503, ec2Error("RequestLimitExceeded", "slow down")), nil
			}
			return answer(req, 200, "<DescribeTagsResponse/>"), nil
		}}
		f, imds := newFake(map[string]string{"meta-data/mac": "x"})
		c := newClients(t, Options{Region: "cn-north-1", Transport: w, IMDS: imds, UserAgent: "rekindle/1.2.3"})
		start := time.Now()
		if err := calls(t.Context(), c)["ec2"](); err != nil {
			t.Fatalf("throttling was not survived: %v", err)
		}
		if _, err := imds.Get(t.Context(), "meta-data/mac"); err != nil {
			t.Fatal(err)
		}
		got := c.Requests()
		if len(got) != 2 || got["ec2"] != 4 || got["imds"] != 2 || len(f.seen) != 2 {
			t.Errorf("%v", got)
		}
		if time.Since(start) == 0 {
			t.Error("no pause between the attempts")
		}
		if ua := w.last().UserAgent(); !containsAll(ua, "rekindle/1.2.3") {
			t.Error(ua)
		}
	})
}

func TestAttemptsEnd(t *testing.T) {
	for _, tt := range []struct {
		env  string
		want int
	}{{"", maxAttempts}, {"3", 3}} {
		laptop(t)
		t.Setenv("AWS_MAX_ATTEMPTS", tt.env)
		synctest.Test(t, func(t *testing.T) {
			w := &wire{do: func(_ int, req *http.Request) (*http.Response, error) {
				return answer(req, 503, ec2Error("RequestLimitExceeded", "slow down")), nil
			}}
			c := newClients(t, Options{Region: "cn-north-1", Transport: w})
			start := time.Now()
			err := Explain(calls(t.Context(), c)["ec2"]())
			wantReason(t, err, status.ReasonDeadline, "RequestLimitExceeded", "request rate")
			if len(w.asks) != tt.want {
				t.Errorf("%d attempts, want %d", len(w.asks), tt.want)
			}
			if took := time.Since(start); took > maxAttempts*maxBackoff {
				t.Errorf("took %s", took)
			}
		})
	}
}

// An isolated network has a certificate authority of its own.
func TestCABundle(t *testing.T) {
	laptop(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<DescribeTagsResponse/>")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the refused handshake
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, block, 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Region: "cn-north-1", Endpoints: map[string]string{"ec2": server.URL}}
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	if err := calls(t.Context(), newClients(t, o))["ec2"](); err == nil {
		t.Error("a certificate that nobody vouches for was accepted")
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	if err := calls(t.Context(), newClients(t, o))["ec2"](); err != nil {
		t.Error(err)
	}
}

func TestNothingIsMadeBeforeItIsAskedFor(t *testing.T) {
	laptop(t)
	c := newClients(t, Options{Region: "cn-north-1", Transport: &wire{do: denied}})
	s := &c.services
	if s.ec2 != nil || s.s3 != nil || s.sts != nil || s.ssm != nil || s.kms != nil || s.autoscaling != nil || s.route53 != nil {
		t.Error("a client was made")
	}
	if n := len(c.Requests()); n != 0 {
		t.Errorf("%d services were asked", n)
	}
}

func TestRoleCredentialsComeFromOurIMDS(t *testing.T) {
	laptop(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	f, imds := newFake(map[string]string{
		"meta-data/iam/security-credentials/": "node-role",
		"meta-data/iam/security-credentials/node-role": `{"Code":"Success","AccessKeyId":"ASIAEXAMPLE",` +
			`"SecretAccessKey":"s","Token":"t","Expiration":"2100-01-01T00:00:00Z"}`,
	})
	c := newClients(t, Options{Region: "cn-north-1", IMDS: imds, Transport: &wire{do: denied}})
	for range 2 {
		credentials, err := c.Credentials().Retrieve(t.Context())
		if err != nil || credentials.AccessKeyID != "ASIAEXAMPLE" {
			t.Fatalf("%v, %v", credentials.AccessKeyID, err)
		}
	}
	if n := f.count("GET meta-data/iam/security-credentials/node-role"); n != 1 {
		t.Errorf("read %d times", n)
	}
}

func TestNoCredentials(t *testing.T) {
	laptop(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	synctest.Test(t, func(t *testing.T) {
		_, imds := newFake(nil)
		w := &wire{do: denied}
		c := newClients(t, Options{Region: "cn-north-1", IMDS: imds, Transport: w})
		err := Explain(calls(t.Context(), c)["ec2"]())
		wantReason(t, err, status.ReasonCredentials, "instance profile", "associate-iam-instance-profile")
		if len(w.asks) != 0 {
			t.Error("asked without credentials")
		}
	})
}

// A black hole: the connection stands, and nothing ever comes.
func TestSilentConnectionIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		conn := &watched{Conn: near, silence: 30 * time.Second}
		defer conn.Close()
		start := time.Now()
		_, err := conn.Read(make([]byte, 1))
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() || time.Since(start) != 30*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		if _, err := conn.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a write that nobody takes: %v", err)
		}
	})
}

// An upload that takes longer than the limit: nothing comes back meanwhile, and that is no silence.
func TestLongUploadIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn := &watched{Conn: near, silence: 30 * time.Second}
		defer conn.Close()
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() {
			for range 10 {
				time.Sleep(20 * time.Second)
				if _, err := conn.Write([]byte("part")); err != nil {
					t.Error(err)
				}
			}
		})
		group.Go(func() {
			defer far.Close()
			if _, err := io.ReadFull(far, make([]byte, 40)); err != nil {
				t.Error(err)
			}
			if _, err := far.Write([]byte("k")); err != nil {
				t.Error(err)
			}
		})
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Errorf("the answer after 200 s: %v", err)
		}
	})
}
