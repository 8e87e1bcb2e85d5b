package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"rekindle/agent/store"
	lab "rekindle/test/s3"
)

const (
	region = "cn-north-1"
	bucket = "bench"
	prefix = "store"
)

var key = lab.Key{ID: "AKIABENCH00000000001", Secret: "the-root-account-of-the-benchmark"}

// serve runs versitygw.
func serve(ctx context.Context, dir string) error {
	server, err := lab.Start(ctx, lab.Options{Dir: dir, Region: region, Root: key})
	if err != nil {
		return err
	}
	fmt.Println(server.URL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, server.Close())
}

func client(url string) *s3.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(url), UsePathStyle: true, Region: region,
		Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""),
		HTTPClient:  &http.Client{Transport: transport},
	})
}

func objects(url string) *store.S3 { return store.NewS3(client(url), bucket, prefix) }

// member runs an etcd of one member with its defaults, but for the quota.
func member(dir string) error {
	c := embed.NewConfig()
	c.Dir = dir
	any := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.ListenClientUrls, c.AdvertiseClientUrls, c.ListenPeerUrls, c.AdvertisePeerUrls = any, any, any, any
	c.InitialCluster = c.InitialClusterFromName("")
	c.QuotaBackendBytes = 8 << 30
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer etcd.Close()
	select {
	case <-etcd.Server.ReadyNotify():
	case err := <-etcd.Err():
		return err
	}
	fmt.Printf("http://%s\n", etcd.Clients[0].Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func dial(url string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{url}, Logger: zap.NewNop()})
}
