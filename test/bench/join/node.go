package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"rekindle/agent/join"
	"rekindle/agent/pki"
	"rekindle/test/cloud"
)

// node is an instance that wants certificates.
type node struct {
	client   *join.Client
	requests []pki.Request
	took     time.Duration
}

func newNode(c *cloud.Cloud, i *cloud.Instance, sts, master string, log *slog.Logger) (*node, error) {
	requests, err := requestsFor(i.ID, i.PrivateIP.String())
	if err != nil {
		return nil, err
	}
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: i.PrivateIP.AsSlice()}}
	return &node{requests: requests, client: &join.Client{
		Cluster: cluster, Instance: i.ID, Node: i.ID,
		Masters: func(context.Context) ([]string, error) { return []string{master}, nil },
		Prove:   prover(c.Credentials(i.ID), sts), Dial: from.DialContext, Logger: log,
	}}, nil
}

// prover signs as agent/aws does (ProveIdentity). Those clients take their credentials from the process or from IMDS, and
// here one process is thousands of instances.
func prover(has cloud.Credentials, sts string) func(context.Context, map[string]string, time.Time) (string, error) {
	credentials := aws.Credentials{
		AccessKeyID: has.AccessKeyID, SecretAccessKey: has.SecretAccessKey, SessionToken: has.SessionToken,
	}
	const emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of the body of a GET
	return func(ctx context.Context, headers map[string]string, at time.Time) (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet,
			sts+"/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
		if err != nil {
			return "", err
		}
		for name, value := range headers {
			request.Header.Set(name, value)
		}
		url, _, err := v4.NewSigner().PresignHTTP(ctx, credentials, request, emptyDigest, "sts", region, at.UTC())
		return url, err
	}
}
