package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"rekindle/agent/assets"
	"rekindle/agent/aws"
	"rekindle/agent/status"
)

type publishFlags struct {
	key, passwordFile string
	region, endpoint  string
	pathStyle         bool
	parallel          int
}

func publishCommand(shared *common) *cobra.Command {
	var flags publishFlags
	command := &cobra.Command{
		Use:   "publish DIR STORE",
		Short: "fill a store with a directory's files and its manifest",
		Long: `Hashes what is in DIR, uploads what STORE lacks, and writes the manifest last: nodes see the old publication
or the new one, never half of one. Interrupted or repeated, it loses nothing.`,
		Example: `  rekindle publish ./assets s3://my-bucket/prod
  rekindle publish ./assets dir:///srv/mirror --sign minisign.key`,
		Args: arguments(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			return publish(c.Context(), shared, &flags, args[0], args[1], c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	set := command.Flags()
	set.StringVar(&flags.key, "sign", "", "minisign secret key that signs the manifest")
	set.StringVar(&flags.passwordFile, "password-file", "", "file with the key's password")
	set.StringVar(&flags.region, "region", "", "the bucket's region; without it the profile's")
	set.StringVar(&flags.endpoint, "endpoint", "", "URL of an S3-compatible store")
	set.BoolVar(&flags.pathStyle, "path-style", false, "address the bucket by path")
	set.IntVar(&flags.parallel, "parallel", 4, "uploads at a time")
	return command
}

func publish(ctx context.Context, shared *common, flags *publishFlags, dir, place string, stdout, stderr io.Writer) error {
	logger := shared.logger(stderr)
	var newS3 func(string) *s3.Client
	if strings.HasPrefix(place, "s3://") {
		options := aws.Options{Region: flags.region, PathStyle: flags.pathStyle, Logger: logger}
		if flags.endpoint != "" {
			options.Endpoints = map[string]string{"s3": flags.endpoint}
		}
		clients, err := aws.New(ctx, options)
		if err != nil {
			return err
		}
		newS3 = func(string) *s3.Client { return clients.S3("") }
	}
	target, err := assets.ParseTarget(place, newS3)
	if err != nil {
		return exit{exitUsage, err}
	}
	options := assets.PublishOptions{Dir: dir, Target: target, Parallel: flags.parallel}
	if flags.key != "" {
		if options.Key, err = assets.SecretKey(flags.key, flags.password); err != nil {
			return err
		}
	}
	progress := newProgress(stderr)
	options.Progress = progress.show
	start := time.Now()
	result, err := assets.Publish(ctx, options)
	progress.end()
	if err != nil {
		return err
	}
	return printResult(stdout, place, result, flags.key != "", time.Since(start))
}

func printResult(w io.Writer, place string, result assets.Result, signed bool, took time.Duration) error {
	how := "unsigned"
	if signed {
		how = "signed"
	}
	if result.Unchanged {
		_, err := fmt.Fprintf(w, "%s: unchanged: %d objects, %s, manifest %.12s (%s)\n", place, result.Objects,
			status.Bytes(result.Bytes), result.Manifest, how)
		return err
	}
	_, err := fmt.Fprintf(w, "%s: published %d objects, %s, of which %d were new (%s sent) in %s; manifest %.12s (%s)\n",
		place, result.Objects, status.Bytes(result.Bytes), result.Uploaded, status.Bytes(result.Sent),
		status.Duration(took), result.Manifest, how)
	return err
}

// password is asked for only when the key has one.
func (f *publishFlags) password() (string, error) {
	if f.passwordFile != "" {
		data, err := os.ReadFile(f.passwordFile)
		return strings.TrimRight(string(data), "\r\n"), err
	}
	if secret, ok := os.LookupEnv("REKINDLE_SIGN_PASSWORD"); ok {
		return secret, nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", errors.New("none given: use --password-file, or REKINDLE_SIGN_PASSWORD")
	}
	_, _ = fmt.Fprint(os.Stderr, "password of the signing key: ")
	secret, err := term.ReadPassword(int(os.Stdin.Fd()))
	_, _ = fmt.Fprintln(os.Stderr)
	return string(secret), err
}
