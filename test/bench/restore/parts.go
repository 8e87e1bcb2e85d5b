package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/restore"
)

const (
	member  = "main-1"
	peerURL = "http://127.0.0.1:2380"
	token   = "0123456789abcdef-g4"
)

// outcome is what the process that is measured says about itself.
type outcome struct {
	Result restore.Result
	Anon   int64 // bytes: the most memory that was not of files
	All    int64 // bytes: the most memory, with what of the mapped database was in it
}

// ours restores a backup: url, directory, the entry as JSON, and where to write a profile.
func ours(ctx context.Context, args []string) (err error) {
	if len(args) != 4 {
		return errors.New("usage: restore ours URL DIR ENTRY PROFILE")
	}
	var e backup.Entry
	if err := json.Unmarshal([]byte(args[2]), &e); err != nil {
		return err
	}
	if args[3] != "" {
		file, err := os.Create(args[3])
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	anon := watchMemory(ctx)
	result, err := restore.Restore(ctx, blobs(args[0]), restore.Order{
		Backup: e, Dir: args[1], Part: args[1] + ".part", Name: member, PeerURL: peerURL, Token: token, Bump: restore.Bump,
	})
	if err != nil {
		return err
	}
	o := outcome{Result: result}
	if o.Anon, err = anon(); err != nil {
		return err
	}
	if o.All, err = memory("VmHWM:"); err != nil {
		return err
	}
	o.Result.Manifest.Chunks = nil
	return json.NewEncoder(os.Stdout).Encode(o)
}

// watchMemory looks at the memory that is not of files every few milliseconds, since the kernel keeps no peak of it.
func watchMemory(ctx context.Context) (peak func() (int64, error)) {
	ctx, stop := context.WithCancel(ctx)
	var most int64
	var failed error
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			now, err := memory("RssAnon:")
			most, failed = max(most, now), errors.Join(failed, err)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() (int64, error) {
		stop()
		watch.Wait()
		return most, failed
	}
}

// memory reads a line of /proc/self/status, in bytes.
func memory(name string) (int64, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status: no %s", name)
}

// download fetches the snapshot to a file as the SDK does it: url, file. Ranges and not parts, which are as many as the
// upload had; and more of them at once than its default of 5, which is slower here.
func download(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: restore download URL FILE")
	}
	file, err := os.Create(args[1])
	if err != nil {
		return err
	}
	manager := transfermanager.New(client(args[0]), func(o *transfermanager.Options) {
		o.GetObjectType = types.GetObjectRanges
		o.Concurrency = 8
	})
	_, err = manager.DownloadObject(ctx, &transfermanager.DownloadObjectInput{
		Bucket: aws.String(bucket), Key: aws.String(path.Join(prefix, plain)), WriterAt: file,
	})
	return errors.Join(err, file.Close())
}

// etcdutl is `etcdutl snapshot restore` with --bump-revision and --mark-compacted: file, directory.
func etcdutl(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: restore etcdutl FILE DIR")
	}
	return snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: filepath.Clean(args[0]), Name: member, OutputDataDir: args[1], PeerURLs: []string{peerURL},
		InitialCluster: member + "=" + peerURL, InitialClusterToken: token, RevisionBump: restore.Bump, MarkCompacted: true,
	})
}
