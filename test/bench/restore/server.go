package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	lab "rekindle/test/s3"
)

const (
	region = "cn-north-1"
	bucket = "bench"
	prefix = "store"
)

var key = lab.Key{ID: "AKIABENCH00000000001", Secret: "the-root-account-of-the-benchmark"}

// again starts this program as one of its parts. Tests are such a program, too: see TestMain.
func again(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), "BENCH_RESTORE_PART=yes")
	cmd.Stderr = os.Stderr
	return cmd
}

// serve runs versitygw until its standard input is closed, so it cannot outlive whoever started it.
func serve(ctx context.Context, dir string) error {
	server, err := lab.Start(ctx, lab.Options{Dir: dir, Region: region, Root: key})
	if err != nil {
		return err
	}
	fmt.Println(server.URL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, server.Close())
}

// startServer starts the server process and returns its address and a function that ends it.
func startServer(ctx context.Context, dir string) (url string, stop func() error, err error) {
	server := again(ctx, "serve", dir)
	in, err := server.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := server.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error { return errors.Join(in.Close(), server.Wait()) }
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return "", nil, errors.Join(fmt.Errorf("server: %w", err), stop())
		}
		if strings.HasPrefix(line, "http://") { // versitygw has words of its own to say
			go func() { _, _ = io.Copy(io.Discard, lines) }()
			return strings.TrimSpace(line), stop, nil
		}
	}
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
