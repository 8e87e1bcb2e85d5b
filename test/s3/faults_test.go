package s3

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// TestFaultsOfConditionalWrites: what the client hears, and whether the object is there, are two things.
func TestFaultsOfConditionalWrites(t *testing.T) {
	s := start(t, nil)
	if err := s.CreateBucket(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	create := func(key string) error {
		_, err := s.Client().PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("store"), Key: &key, Body: strings.NewReader("x"), IfNoneMatch: aws.String("*"),
		}, once)
		return err
	}
	for _, tt := range []struct {
		do      Effect
		code    string // "": an error without one
		written bool
		status  int
	}{
		{Conflict, "ConditionalRequestConflict", false, 409},
		{Refused, "PreconditionFailed", false, 412},
		{Deny, "AccessDenied", false, 403},
		{ServerError, "InternalError", false, 500},
		{SlowDown, "SlowDown", false, 503},
		{ErrorAfter, "InternalError", true, 500},
		{Reset, "EOF", false, 0},
		{Lost, "EOF", true, 0},
	} {
		t.Run(tt.do.name, func(t *testing.T) {
			s.ResetRequests()
			fault := s.Faults().Add(Fault{Method: "PUT", Path: "/store/pki/*", Conditional: true, Count: 1, Do: tt.do})
			defer fault.Remove()
			key := "pki/" + strings.ReplaceAll(tt.do.name, " ", "-")
			if err := put(s.Client(), "pki/unconditional", "x")(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := code(create(key)); got != tt.code && !strings.HasSuffix(got, tt.code) {
				t.Errorf("got error code %q, want %q", got, tt.code)
			}
			if written := get(s.Client(), key)(t.Context()) == nil; written != tt.written {
				t.Errorf("written %t, want %t", written, tt.written)
			}
			want := ""
			if tt.written {
				want = "PreconditionFailed"
			}
			if got := code(create(key)); got != want || fault.Hits() != 1 {
				t.Errorf("again: error code %q, want %q; %d hits", got, want, fault.Hits())
			}
			if hit := s.Requests()[1]; hit.Status != tt.status || hit.Fault != tt.do.name || hit.IfNoneMatch != "*" {
				t.Errorf("recorded as %+v", hit)
			}
		})
	}
}

func TestFaultsAreAsRareAsAskedFor(t *testing.T) {
	s := start(t, nil)
	if err := s.CreateBucket(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	later := s.Faults().Add(Fault{Method: "PUT", Path: "/store/a", Skip: 2, Do: ServerError})
	sometimes := s.Faults().Add(Fault{Method: "GET", Probability: 0.5, Do: SlowDown})
	other := s.Faults().Add(Fault{AccessKeyID: "AKIAOTHER", Do: Deny})
	failed := 0
	for range 40 {
		_, err := s.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("store"), Key: aws.String("a"), Body: strings.NewReader("x")}, once)
		if err != nil {
			failed++
		}
		if _, err := s.Client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("store"), Key: aws.String("a")}, once); err != nil && code(err) != "SlowDown" {
			t.Fatal(err)
		}
	}
	if failed != 38 || later.Hits() != 38 || sometimes.Hits() < 8 || sometimes.Hits() > 32 || other.Hits() != 0 {
		t.Errorf("%d writes failed, %d hits, %d reads hit, %d of others", failed, later.Hits(), sometimes.Hits(), other.Hits())
	}
	s.Faults().Clear()
	s.Faults().Add(Fault{Method: "PUT", Do: Latency(50 * time.Millisecond)})
	began := time.Now()
	if err := put(s.Client(), "a", "y")(t.Context()); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("took %s: %v", time.Since(began), err)
	}
}

// A body that is cut on its way arrives in part, or not at all; a query tells the parts of an upload apart.
func TestFaultsOfBodies(t *testing.T) {
	s := start(t, nil)
	if err := s.CreateBucket(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("0123456789", 100_000)
	cut := s.Faults().Add(Fault{Method: "PUT", Count: 1, Do: CutAfter(1000)})
	_, err := s.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("store"), Key: aws.String("a"), Body: strings.NewReader(body)}, once)
	if err == nil || cut.Hits() != 1 || code(get(s.Client(), "a")(t.Context())) != "NoSuchKey" {
		t.Errorf("cut in the middle: %v, %d hits", err, cut.Hits())
	}
	if err := put(s.Client(), "a", body)(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Faults().Add(Fault{Method: "GET", Count: 1, Do: Truncate(1000)})
	out, err := s.Client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("store"), Key: aws.String("a")}, once)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	if err == nil || len(data) > 1000 || aws.ToInt64(out.ContentLength) != int64(len(body)) {
		t.Errorf("read %d bytes of %d: %v", len(data), aws.ToInt64(out.ContentLength), err)
	}
	second := s.Faults().Add(Fault{Query: "list-type=2", Do: SlowDown})
	any := s.Faults().Add(Fault{Query: "versions", Do: SlowDown})
	if err := list(s.Client())(t.Context()); err == nil || second.Hits() == 0 || any.Hits() > 0 {
		t.Errorf("%v, %d hits, %d of others", err, second.Hits(), any.Hits())
	}
}

// Whether a secret was written under a KMS key can be told from the request.
func TestEncryptionIsRecorded(t *testing.T) {
	s := start(t, nil)
	if err := s.CreateBucket(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	s.ResetRequests()
	_, err := s.Client().PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("store"), Key: aws.String("pki/private/etcd.json"), Body: strings.NewReader("{}"),
		ServerSideEncryption: types.ServerSideEncryptionAwsKms, SSEKMSKeyId: aws.String("alias/kube"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := put(s.Client(), "pki/public/etcd.crt", "x")(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := s.Requests()
	if len(all) != 2 || all[0].Encryption != "aws:kms" || all[0].KMSKey != "alias/kube" || all[1].Encryption != "" || all[1].KMSKey != "" {
		t.Errorf("recorded %+v", all)
	}
}

// once makes every answer seen.
func once(o *s3.Options) { o.RetryMaxAttempts = 1 }
