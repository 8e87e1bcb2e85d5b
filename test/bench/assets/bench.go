package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rekindle/agent/assets"
)

const runs = 3

// sample is one measured run.
type sample struct {
	took time.Duration
	cpu  time.Duration // user and system
	rss  int64         // bytes
}

func bench(ctx context.Context) (err error) {
	aws, err := exec.LookPath(cmp.Or(os.Getenv("AWSCLI"), "/usr/bin/aws"))
	if err != nil {
		return fmt.Errorf("%w; apt-get install awscli, or name it in AWSCLI", err)
	}
	dir, err := os.MkdirTemp("", "rekindle-bench-assets-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	data := filepath.Join(dir, "data")
	if err := makeData(data); err != nil {
		return err
	}
	server, stop, err := startServer(ctx, filepath.Join(dir, "s3"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	start := time.Now()
	result, err := publish(ctx, server, data)
	if err != nil {
		return err
	}
	report("assets_publish_seconds", time.Since(start).Seconds(), "s")
	if again, err := assets.Publish(ctx, assets.PublishOptions{Dir: data, Target: target(server)}); err != nil {
		return err
	} else if !again.Unchanged || again.Uploaded != 0 {
		return fmt.Errorf("the same files published again: %+v; want no change", again)
	}
	report("assets_objects", float64(result.Objects), "objects")
	report("assets_bytes", float64(result.Bytes)/(1<<20), "MiB")
	if err := os.RemoveAll(data); err != nil {
		return err
	}

	b := &comparison{dir: dir, aws: aws, objects: result.Objects}
	if err := b.compare(ctx, "", server); err != nil {
		return err
	}
	synced, err := b.measure(ctx, b.fetch(ctx, "fetch-synced", server), "objects", true)
	if err != nil {
		return err
	}
	report("assets_seconds_synced", synced.took.Seconds(), "s")
	proxy, err := startProxy(strings.TrimPrefix(server, "http://"))
	if err != nil {
		return err
	}
	defer proxy.Close()
	if err := b.compare(ctx, "_flaky", "http://"+proxy.Addr()); err != nil {
		return err
	}
	report("assets_requests_flaky", float64(proxy.requests.Load()), "requests")
	report("assets_resets_flaky", float64(proxy.resets.Load()), "connections")
	return nil
}

type comparison struct {
	dir, aws string
	objects  int
}

// compare runs both, alternating, so that what else happens on the machine hits both alike.
func (b *comparison) compare(ctx context.Context, suffix, url string) error {
	var ours, theirs []sample
	for i := range runs {
		one, err := b.measure(ctx, b.fetch(ctx, "fetch", url), "objects", i == 0)
		if err != nil {
			return fmt.Errorf("rekindle: %w", err)
		}
		two, err := b.measure(ctx, b.awsCopy(ctx, url), "", i == 0)
		if err != nil {
			return fmt.Errorf("aws s3 cp: %w", err)
		}
		ours, theirs = append(ours, one), append(theirs, two)
	}
	seconds := func(s sample) float64 { return s.took.Seconds() }
	mine, other := median(ours, seconds), median(theirs, seconds)
	report("assets_seconds"+suffix, mine, "s")
	report("assets_awscli_seconds"+suffix, other, "s")
	cpu := func(s sample) float64 { return s.cpu.Seconds() }
	report("assets_cpu_seconds"+suffix, median(ours, cpu), "s")
	report("assets_awscli_cpu_seconds"+suffix, median(theirs, cpu), "s")
	report("assets_throughput"+suffix, total/mine/(1<<20), "MiB/s")
	report("assets_ratio_vs_awscli"+suffix, mine/other, "ratio")
	report("assets_peak_rss_mb"+suffix, median(ours, func(s sample) float64 { return float64(s.rss) / (1 << 20) }), "MiB")
	return nil
}

// measure runs a command that copies the store to a new directory. The disk is quiet before, and what was copied is
// checked the first time.
func (b *comparison) measure(ctx context.Context, command func(to string) *exec.Cmd, objects string, checked bool) (s sample, err error) {
	to, err := os.MkdirTemp(b.dir, "to-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(to)) }()
	syscall.Sync()
	cmd := command(to)
	cmd.Stderr = os.Stderr
	start := time.Now()
	out, err := cmd.Output()
	s.took = time.Since(start)
	if cmd.ProcessState != nil {
		s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if err != nil {
		return s, err
	}
	if text := strings.TrimSpace(string(out)); text != "" {
		if s.rss, err = strconv.ParseInt(text, 10, 64); err != nil {
			return s, err
		}
	}
	if checked {
		err = check(filepath.Join(to, objects), b.objects)
	}
	return s, err
}

// The commands that are measured, as functions of the directory to copy to.

func (b *comparison) fetch(ctx context.Context, how, url string) func(to string) *exec.Cmd {
	return func(to string) *exec.Cmd { return exec.CommandContext(ctx, "/proc/self/exe", how, url, to) }
}

func (b *comparison) awsCopy(ctx context.Context, url string) func(to string) *exec.Cmd {
	return func(to string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, b.aws, "--endpoint-url", url, "--region", region,
			"s3", "cp", "--recursive", "--only-show-errors", "s3://"+bucket+"/"+prefix+"/objects/", to)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+key.ID, "AWS_SECRET_ACCESS_KEY="+key.Secret,
			"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
		return cmd
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

func report(name string, value float64, unit string) { fmt.Printf("%s %.2f %s\n", name, value, unit) }
