package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"

	"rekindle/agent/etcd/backup"
)

// sample is one run of one command.
type sample struct {
	took, cpu time.Duration // cpu: user and system
	outcome   outcome       // of ours
}

func bench(ctx context.Context, s setup) (err error) {
	if err := errors.Join(os.RemoveAll(s.work), os.MkdirAll(s.work, 0o755)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.work)) }()
	url, stop, err := startServer(ctx, filepath.Join(s.cache, "s3"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	entry, err := prepare(ctx, s, url)
	if err != nil {
		return err
	}
	c := &comparison{setup: s, url: url, entry: entry}
	for i := range s.runs {
		if err := c.once(ctx, i == 0, i == s.runs-1); err != nil {
			return err
		}
	}
	c.report()
	return nil
}

type comparison struct {
	setup
	url   string
	entry backup.Entry

	ours, download, etcdutl []sample
}

// once runs each of them once. The disk is quiet before each. The first results are compared.
func (c *comparison) once(ctx context.Context, compare, profile bool) error {
	entry, err := json.Marshal(c.entry)
	if err != nil {
		return err
	}
	path := c.profile
	if !profile {
		path = ""
	}
	mine, file, theirs := filepath.Join(c.work, "ours"), filepath.Join(c.work, plain), filepath.Join(c.work, "theirs")
	one, err := measure(again(ctx, "ours", c.url, mine, string(entry), path))
	if err != nil {
		return fmt.Errorf("rekindle: %w", err)
	}
	two, err := measure(again(ctx, "download", c.url, file))
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	// Not quiet before this one: an operator runs it at once, and what was downloaded is on its way to the disk.
	three, err := timed(again(ctx, "etcdutl", file, theirs))
	if err != nil {
		return fmt.Errorf("etcdutl: %w", err)
	}
	c.ours, c.download, c.etcdutl = append(c.ours, one), append(c.download, two), append(c.etcdutl, three)
	if compare {
		if err := same(mine, theirs); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(mine), os.Remove(file), os.RemoveAll(theirs))
}

func measure(cmd *exec.Cmd) (sample, error) {
	syscall.Sync()
	return timed(cmd)
}

func timed(cmd *exec.Cmd) (s sample, err error) {
	start := time.Now()
	out, err := cmd.Output()
	s.took = time.Since(start)
	if err != nil {
		return s, err
	}
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if len(out) > 0 {
		err = json.Unmarshal(out, &s.outcome)
	}
	return s, err
}

// same compares the keys of two data directories, as `etcdutl hashkv` does.
func same(a, b string) error {
	one, err := hash(a)
	if err != nil {
		return err
	}
	two, err := hash(b)
	if err != nil {
		return err
	}
	if one != two {
		return fmt.Errorf("hashkv: %+v restored by rekindle, %+v by etcdutl", one, two)
	}
	return nil
}

func hash(dir string) (mvcc.KeyValueHash, error) {
	be := backend.NewDefaultBackend(zap.NewNop(), filepath.Join(dir, "member", "snap", "db"))
	kv := mvcc.NewStore(zap.NewNop(), be, nil, mvcc.StoreConfig{})
	h, _, err := mvcc.NewHashStorage(zap.NewNop(), kv).HashByRev(0)
	return h, errors.Join(err, kv.Close(), be.Close())
}

func (c *comparison) report() {
	took := func(s sample) float64 { return s.took.Seconds() }
	cpu := func(s sample) float64 { return s.cpu.Seconds() }
	var pair []sample
	for i := range c.download {
		pair = append(pair, sample{took: c.download[i].took + c.etcdutl[i].took, cpu: c.download[i].cpu + c.etcdutl[i].cpu})
	}
	print := func(name string, value float64, unit string) { fmt.Printf("%s %.2f %s\n", name, value, unit) }
	print("restore_seconds", median(c.ours, took), "s")
	print("restore_download_seconds", median(c.download, took), "s")
	print("restore_etcdutl_seconds", median(c.etcdutl, took), "s")
	print("restore_ratio_vs_etcdutl", median(c.ours, took)/median(pair, took), "ratio")
	print("restore_cpu_seconds", median(c.ours, cpu), "s")
	print("restore_etcdutl_cpu_seconds", median(pair, cpu), "s")
	mib := func(of func(sample) int64) float64 {
		return median(c.ours, func(s sample) float64 { return float64(of(s)) / (1 << 20) })
	}
	// RssAnon at its highest: without the page cache, of which the mapped database is a part.
	print("restore_peak_rss_mb", mib(func(s sample) int64 { return s.outcome.Anon }), "MiB")
	print("restore_peak_rss_with_mapped_db_mb", mib(func(s sample) int64 { return s.outcome.All }), "MiB")
	print("restore_db_mib", mib(func(s sample) int64 { return s.outcome.Result.Bytes }), "MiB")
	print("restore_fetched_mib", mib(func(s sample) int64 { return s.outcome.Result.Fetched }), "MiB")
	print("restore_keys", float64(c.ours[0].outcome.Result.Keys), "keys")
	for _, span := range []struct {
		name string
		of   func(sample) time.Duration
	}{
		{"fetch", func(s sample) time.Duration { return s.outcome.Result.Took.Fetch }},
		{"rewrite", func(s sample) time.Duration { return s.outcome.Result.Took.Rewrite }},
		{"verify", func(s sample) time.Duration { return s.outcome.Result.Took.Verify }},
		{"sync", func(s sample) time.Duration { return s.outcome.Result.Took.Sync }}, // overlaps with verify
	} {
		print("restore_"+span.name+"_seconds", median(c.ours, func(s sample) float64 { return span.of(s).Seconds() }), "s")
	}
}

func median(samples []sample, of func(sample) float64) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
