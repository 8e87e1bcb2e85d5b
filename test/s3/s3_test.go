package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

const (
	masterRole = "arn:aws-cn:iam::123456789012:role/master"
	minionRole = "arn:aws-cn:iam::123456789012:role/minion"
)

// session makes an identity as the metadata service of an instance hands it out.
func session(role, arn string) Identity {
	return Identity{
		SecretKey: "secret of " + role, Token: "token of " + role, Expires: time.Now().Add(time.Hour),
		ARN: "arn:aws-cn:sts::123456789012:assumed-role/" + role + "/i-0", RoleARN: arn,
	}
}

func start(t *testing.T, known map[string]Identity) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{
		Dir:    t.TempDir(),
		Region: "cn-north-1",
		Identify: func(key string) (Identity, bool) {
			id, ok := known[key]
			return id, ok
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestServer(t *testing.T) {
	known := map[string]Identity{
		"ASIAMASTER0000000001": session("master", masterRole),
		"ASIAMINION0000000001": session("minion", minionRole),
		"ASIAEXPIRED000000001": {SecretKey: "old", Token: "old", Expires: time.Now().Add(-time.Minute), ARN: "a", RoleARN: masterRole},
	}
	s := start(t, known)
	if err := s.CreateBucket(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	err := s.SetPolicy(t.Context(), "store",
		Statement{[]string{masterRole, minionRole}, []string{"s3:GetObject"}, []string{"objects/*"}},
		Statement{[]string{masterRole}, []string{"s3:GetObject", "s3:PutObject"}, []string{"*"}},
		Statement{[]string{masterRole, minionRole}, []string{"s3:ListBucket"}, []string{""}},
	)
	if err != nil {
		t.Fatal(err)
	}
	client := func(key string) *s3.Client {
		return s.ClientFor(Key{key, known[key].SecretKey}, known[key].Token)
	}
	master, minion := client("ASIAMASTER0000000001"), client("ASIAMINION0000000001")
	forged := s.ClientFor(Key{"ASIAMINION0000000001", "guessed"}, "token of minion")
	tokenless := s.ClientFor(Key{"ASIAMINION0000000001", "secret of minion"}, "")

	for _, c := range []struct {
		name string
		do   func(context.Context) error
		want string // error code
	}{
		{"root writes", put(s.Client(), "objects/a", "1"), ""},
		{"root writes a secret", put(s.Client(), "pki/private/ca.key", "x"), ""},
		{"master reads a secret", get(master, "pki/private/ca.key"), ""},
		{"master writes", put(master, "nodes/i-0/boot.json", "{}"), ""},
		{"minion reads", get(minion, "objects/a"), ""},
		{"minion lists", list(minion), ""},
		{"minion may not read a secret", get(minion, "pki/private/ca.key"), "AccessDenied"},
		{"minion may not write", put(minion, "objects/a", "2"), "AccessDenied"},
		{"wrong secret", get(forged, "objects/a"), "SignatureDoesNotMatch"},
		{"no token", get(tokenless, "objects/a"), "InvalidToken"},
		{"expired", get(client("ASIAEXPIRED000000001"), "objects/a"), "InvalidToken"},
		{"unknown key", get(s.ClientFor(Key{"AKIANOBODY", "x"}, ""), "objects/a"), "InvalidAccessKeyId"},
		{"missing object", get(s.Client(), "objects/none"), "NoSuchKey"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := code(c.do(t.Context())); got != c.want {
				t.Errorf("got error code %q, want %q", got, c.want)
			}
		})
	}
}

func TestConditionalWrites(t *testing.T) {
	s := start(t, nil)
	if err := s.CreateBucket(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	create := func(body string) error {
		_, err := s.Client().PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("store"), Key: aws.String("lineage.json"), Body: strings.NewReader(body), IfNoneMatch: aws.String("*"),
		})
		return err
	}
	if err := create("1"); err != nil {
		t.Fatal(err)
	}
	if got := code(create("2")); got != "PreconditionFailed" {
		t.Errorf("a second create got error code %q, want PreconditionFailed", got)
	}
}

// A write that lost its directory to somebody's deletion leaves an ETag and no object. The next one makes the object.
func TestOrphan(t *testing.T) {
	s := start(t, nil)
	if err := s.CreateBucket(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(s.options.Dir, "metadata", "store", "etcd", "main", "lineage of.json", "meta")
	if err := errors.Join(os.MkdirAll(left, 0o755), os.WriteFile(filepath.Join(left, "etag"), []byte("0123"), 0o600)); err != nil {
		t.Fatal(err)
	}
	create := func() error {
		_, err := s.Client().PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("store"), Key: aws.String("etcd/main/lineage of.json"), Body: strings.NewReader("{}"), IfNoneMatch: aws.String("*"),
		})
		return err
	}
	if err := create(); err != nil {
		t.Error(err)
	}
	if err := get(s.Client(), "etcd/main/lineage of.json")(t.Context()); err != nil {
		t.Error(err)
	}
	if got := code(create()); got != "PreconditionFailed" {
		t.Errorf("a second create got error code %q, want PreconditionFailed", got)
	}
}

func TestRequests(t *testing.T) {
	s := start(t, nil)
	if err := s.CreateBucket(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("0123456789"), 1000)
	if err := put(s.Client(), "objects/a", string(body))(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.ResetRequests()
	out, err := s.Client().GetObject(t.Context(), &s3.GetObjectInput{
		Bucket: aws.String("store"), Key: aws.String("objects/a"), Range: aws.String("bytes=10-19"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	part, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	if string(part) != "0123456789" {
		t.Errorf("range is %q", part)
	}
	all := s.Requests()
	if len(all) != 1 {
		t.Fatalf("%d requests, want 1: %+v", len(all), all)
	}
	got := all[0]
	got.Time, got.Query = time.Time{}, ""
	want := Request{
		Method: "GET", Path: "/store/objects/a", Range: "bytes=10-19", AccessKeyID: s.Root().ID, Status: 206, Bytes: 10,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func put(c *s3.Client, key, body string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("store"), Key: &key, Body: strings.NewReader(body)})
		return err
	}
}

func get(c *s3.Client, key string) func(context.Context) error {
	return func(ctx context.Context) error {
		out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("store"), Key: &key})
		if err != nil {
			return err
		}
		return out.Body.Close()
	}
}

func list(c *s3.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("store")})
		return err
	}
}

func code(err error) string {
	if err == nil {
		return ""
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return err.Error()
}
