package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rekindle/agent/status"
	"rekindle/test/cloud"
	"rekindle/test/lab/binaries"
	"rekindle/test/lab/node"
	"rekindle/test/lab/region"
)

const cacheDir = "var/lib/rekindle/cache"

// bench is the laboratory of the measurement.
type bench struct {
	dir     string
	set     binaries.Set
	region  *region.Region
	cache   string // of the role at hand; empty: not warm yet
	verbose bool
}

// sample is one boot.
type sample struct {
	toUnits  time.Duration
	etcd     time.Duration // of toUnits: etcd itself
	timeline *status.Timeline
	rss      int64 // bytes
	requests map[string]int
}

// bake puts the cache into the image of the next instance. Hard links: nobody writes to an object in a cache.
func (b *bench) bake(root string) error {
	if b.cache == "" {
		return nil
	}
	return filepath.WalkDir(b.cache, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(b.cache, path)
		if err != nil {
			return err
		}
		to := filepath.Join(root, cacheDir, name)
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		return os.Link(path, to)
	})
}

// measure boots one instance to fill the cache, and then the runs. Minions boot beside a master, which signs their
// certificates.
func (b *bench) measure(ctx context.Context, role string, runs int) (_ []sample, err error) {
	b.cache = ""
	if role != "master" {
		_, end, err := b.launch(ctx, "master")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, end()) }()
	}
	first, err := b.boot(ctx, role, func(n *node.Node) error {
		b.cache = filepath.Join(b.dir, "cache-"+role)
		return os.CopyFS(b.cache, os.DirFS(n.Path(cacheDir)))
	})
	if err != nil {
		return nil, err
	}
	b.tell(role, "cold", first)
	var samples []sample
	for i := range runs {
		s, err := b.boot(ctx, role, func(*node.Node) error { return nil })
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", i+1, err)
		}
		b.tell(role, fmt.Sprintf("run %d", i+1), s)
		samples = append(samples, s)
	}
	return samples, nil
}

func (b *bench) tell(role, name string, s sample) {
	if !b.verbose {
		return
	}
	fmt.Fprintf(os.Stderr, "\n%s, %s: %v, %d MiB, %v\n", role, name, s.toUnits.Round(time.Millisecond), s.rss>>20, s.requests)
	if err := s.timeline.Text(os.Stderr, 100); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// launch launches an instance and waits until it is ready. End terminates it; with a master its cluster goes, too: the
// next one makes a new one, with authorities and etcd, instead of waiting for this one's data.
func (b *bench) launch(ctx context.Context, role string) (n *node.Node, end func() error, err error) {
	profile := region.NodeProfile
	if role == "master" {
		profile = region.MasterProfile
	}
	i, err := b.region.Cloud.Launch(cloud.InstanceSpec{
		Type: "m5.large", Role: profile, UserData: []byte("store: " + store + "\n"),
		Tags:     map[string]string{"rekindle:role": role, "rekindle:cluster": "demo"},
		Metadata: cloud.MetadataOptions{Tags: true},
	})
	if err != nil {
		return nil, nil, err
	}
	end = func() error {
		b.region.Cloud.Terminate(i.ID)
		b.region.Cloud.Settle()
		if role != "master" {
			return nil
		}
		var errs []error
		for _, path := range []string{"etcd/", "pki/", "discovery/"} {
			errs = append(errs, b.region.EmptyStore(context.WithoutCancel(ctx), store, path))
		}
		return errors.Join(errs...)
	}
	b.region.Cloud.Settle()
	if n = b.region.Node(i.ID); n == nil {
		return nil, nil, errors.Join(fmt.Errorf("instance %s did not start", i.ID), b.region.Err(), end())
	}
	if _, err := n.Ready(ctx); err != nil {
		log, _ := os.ReadFile(n.Log) //nolint:errcheck // the error says enough without it
		return nil, nil, errors.Join(fmt.Errorf("%w\n%s", err, log), end())
	}
	return n, end, nil
}

// boot measures one boot.
func (b *bench) boot(ctx context.Context, role string, look func(*node.Node) error) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	n, end, err := b.launch(ctx, role)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, end()) }()
	if s.rss, err = peak(n.PID()); err != nil {
		return s, err
	}
	if s.timeline, err = n.Timeline(); err != nil {
		return s, err
	}
	if s.toUnits, s.etcd, err = toUnits(s.timeline, n.Started()); err != nil {
		return s, err
	}
	if err := n.Stop(ctx); err != nil { // what it still had to send is sent now
		return s, err
	}
	s.requests = b.region.Requests(n.ID)
	return s, look(n)
}

// toUnits is from just before the agent's exec to the end of the last step that started a unit, and how much of that was
// etcd's own start: a new member waits for its election, which etcd puts off by 100 ms to 1 s at random.
func toUnits(timeline *status.Timeline, started time.Time) (whole, etcd time.Duration, err error) {
	var last time.Time
	var walk func(*status.Span)
	walk = func(s *status.Span) {
		if strings.HasPrefix(s.Name, "unit ") && s.End.After(last) {
			last = s.End
		}
		if strings.HasPrefix(s.Name, "unit etcd-") {
			etcd += s.End.Sub(s.Start)
		}
		for _, step := range s.Steps {
			walk(step)
		}
	}
	walk(timeline.Root)
	if last.IsZero() {
		return 0, 0, errors.New("the timeline has no step that started units")
	}
	return last.Sub(started), etcd, nil
}

// peak is the most memory that a process had resident.
func peak(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("process %d: no VmHWM", pid)
}
