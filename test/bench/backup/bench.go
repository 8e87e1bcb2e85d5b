package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// sample is one backup.
type sample struct {
	outcome
	quiet, busy [2]time.Duration // p50 and p99 of the writer before and during the backup
	read, rest  time.Duration    // p99 while etcd sent the snapshot, and after that
}

func bench(ctx context.Context, s setup) (err error) {
	if err := errors.Join(os.RemoveAll(s.work), os.MkdirAll(s.work, 0o755)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.work)) }()
	to, stopS3, err := server(ctx, "serve", filepath.Join(s.work, "s3"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopS3()) }()
	if _, err := client(to).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		return err
	}
	from, stopEtcd, err := server(ctx, "etcd", filepath.Join(s.work, "etcd"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopEtcd()) }()
	etcd, err := dial(from)
	if err != nil {
		return err
	}
	defer etcd.Close()
	if err := fill(ctx, etcd, s.mib); err != nil {
		return err
	}
	b := &bed{setup: s, etcd: etcd, from: from, to: to}
	if err := b.backups(ctx); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := b.follows(ctx); err != nil {
		return fmt.Errorf("deltas: %w", err)
	}
	return nil
}

func server(ctx context.Context, args ...string) (url string, stop func() error, err error) {
	p, err := start(ctx, args...)
	if err != nil {
		return "", nil, err
	}
	url, err = p.listens()
	return url, p.stop, err
}

// bed is what everything runs on.
type bed struct {
	setup
	etcd     *clientv3.Client
	from, to string // URLs of etcd and S3
}

func (b *bed) backups(ctx context.Context) error {
	var all []sample
	for range b.runs {
		s, err := b.backup(ctx)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	seconds := func(name string, of func(sample) time.Duration) {
		report(name, median(all, func(s sample) float64 { return of(s).Seconds() }), "s")
	}
	ms := func(name string, of func(sample) time.Duration) {
		report(name, median(all, func(s sample) float64 { return of(s).Seconds() * 1000 }), "ms")
	}
	mib := func(name string, of func(sample) int64) {
		report(name, median(all, func(s sample) float64 { return float64(of(s)) / (1 << 20) }), "MiB")
	}
	seconds("backup_seconds", func(s sample) time.Duration { return s.Ended.Sub(s.Begun) })
	seconds("backup_snapshot_seconds", func(s sample) time.Duration { return s.Held })
	seconds("backup_cpu_seconds", func(s sample) time.Duration { return s.CPU })
	mib("backup_db_mib", func(s sample) int64 { return s.Size })
	mib("backup_bytes_uploaded", func(s sample) int64 { return s.Stored })
	mib("backup_peak_rss_mb", func(s sample) int64 { return s.Anon })
	mib("backup_peak_rss_with_mapped_db_mb", func(s sample) int64 { return s.All })
	ms("backup_writer_p50_quiet_ms", func(s sample) time.Duration { return s.quiet[0] })
	ms("backup_writer_p50_ms", func(s sample) time.Duration { return s.busy[0] })
	ms("backup_writer_p99_quiet_ms", func(s sample) time.Duration { return s.quiet[1] })
	ms("backup_writer_p99_ms", func(s sample) time.Duration { return s.busy[1] })
	ms("backup_writer_p99_snapshot_ms", func(s sample) time.Duration { return s.read })
	ms("backup_writer_p99_upload_ms", func(s sample) time.Duration { return s.rest })
	ms("backup_writer_p99_added_ms", func(s sample) time.Duration { return s.busy[1] - s.quiet[1] })
	report("backup_writer_p99_ratio", median(all, func(s sample) float64 { return s.busy[1].Seconds() / s.quiet[1].Seconds() }), "ratio")
	return nil
}

// backup measures quiet seconds, and then a backup, under one writer.
func (b *bed) backup(ctx context.Context) (s sample, err error) {
	syscall.Sync()
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var all []write
	written := make(chan error, 1)
	begun := time.Now()
	go func() {
		var err error
		all, err = load(writing, b.etcd, b.rate, 1024)
		written <- err
	}()
	select {
	case <-time.After(b.quiet):
	case <-ctx.Done():
		return s, errors.Join(ctx.Err(), <-written)
	}
	quiet := time.Now()
	s.outcome, err = b.take(ctx)
	stop()
	if err := errors.Join(err, <-written); err != nil {
		return s, err
	}
	for i, percent := range []int{50, 99} {
		var errs [2]error
		s.quiet[i], errs[0] = latency(all, begun, quiet, percent)
		s.busy[i], errs[1] = latency(all, s.Begun, s.Ended, percent)
		if err := errors.Join(errs[:]...); err != nil {
			return s, err
		}
	}
	var errs [2]error
	read := s.Begun.Add(s.Held)
	s.read, errs[0] = latency(all, s.Begun, read, 99)
	s.rest, errs[1] = latency(all, read, s.Ended, 99)
	return s, errors.Join(errs[:]...)
}

func (b *bed) take(ctx context.Context) (o outcome, err error) {
	p, err := start(ctx, "take", b.from, b.to, filepath.Join(b.work, "spool"))
	if err != nil {
		return o, err
	}
	line, err := p.lines.ReadString('\n')
	if err := errors.Join(p.stop(), err); err != nil {
		return o, err
	}
	return o, json.Unmarshal([]byte(line), &o)
}

func report(name string, value float64, unit string) { fmt.Printf("%s %.2f %s\n", name, value, unit) }

func median(samples []sample, of func(sample) float64) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
