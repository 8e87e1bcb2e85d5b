package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/etcd/backup"
	"rekindle/agent/etcd/delta"
	"rekindle/agent/store"
)

// outcome is what the process that is measured says about itself.
type outcome struct {
	Begun, Ended time.Time
	Held         time.Duration // how long etcd had to keep the snapshot's pages
	CPU          time.Duration // user and system
	Size, Stored int64         // bytes
	Anon         int64         // bytes: the most memory that was not of files
	All          int64         // bytes: the most memory, with what of the mapped database was in it
}

// take takes a backup as the agent does: URL of etcd, URL of S3, directory of the spool.
func take(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: backup take ETCD S3 SPOOL")
	}
	etcd, err := dial(args[0])
	if err != nil {
		return err
	}
	defer etcd.Close()
	to, source := objects(args[1]), &timed{Client: etcd}
	taker, err := backup.NewTaker(backup.Options{
		Etcd: source, Blobs: to, Records: to, Cluster: "main", UID: "bench", Generation: 1, Member: "m", SpoolDir: args[2],
		Fence: func(context.Context) error { return nil },
	})
	if err != nil {
		return err
	}
	anon := watchMemory(ctx)
	o := outcome{Begun: time.Now()}
	entry, manifest, err := taker.Take(ctx)
	if err != nil {
		return err
	}
	o.Ended, o.Held, o.Size, o.Stored = time.Now(), source.held, manifest.Size, entry.Stored
	return o.print(anon)
}

func (o outcome) print(anon func() (int64, error)) (err error) {
	if o.Anon, err = anon(); err != nil {
		return err
	}
	if o.All, err = memory("VmHWM:"); err != nil {
		return err
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return err
	}
	o.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	return json.NewEncoder(os.Stdout).Encode(o)
}

// timed measures for how long a snapshot is read.
type timed struct {
	*clientv3.Client
	held time.Duration
}

func (s *timed) SnapshotWithVersion(ctx context.Context) (*clientv3.SnapshotResponse, error) {
	begun := time.Now()
	answer, err := s.Client.SnapshotWithVersion(ctx)
	if err == nil {
		answer.Snapshot = closing{answer.Snapshot, func() { s.held = time.Since(begun) }}
	}
	return answer, err
}

type closing struct {
	io.ReadCloser
	closed func()
}

func (c closing) Close() error {
	c.closed()
	return c.ReadCloser.Close()
}

// follow stores deltas of the newest backup until its standard input ends, and tells each one that is stored: the
// revision that it reaches, and when. URL of etcd, URL of S3.
func follow(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: backup follow ETCD S3")
	}
	etcd, err := dial(args[0])
	if err != nil {
		return err
	}
	defer etcd.Close()
	to := objects(args[1])
	entries, err := backup.List(ctx, to, "main")
	if err != nil {
		return err
	}
	newest := backup.Newest(entries, 1)
	if newest == nil {
		return errors.New("no backup")
	}
	manifest, err := backup.ReadManifest(ctx, to, *newest)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	anon := watchMemory(context.WithoutCancel(ctx))
	o := outcome{Begun: time.Now()}
	stream := delta.Stream{Client: etcd, Blobs: telling{to}}
	if err := stream.Run(ctx, *newest, manifest); ctx.Err() == nil {
		return err
	}
	o.Ended = time.Now()
	return o.print(anon)
}

type blobs = store.Blobs // an embedded field of that name would hide the method

type telling struct{ blobs }

func (t telling) Upload(ctx context.Context, key string, r io.Reader) (store.Blob, error) {
	blob, err := t.blobs.Upload(ctx, key, r)
	if err == nil {
		_, last, _ := strings.Cut(strings.TrimSuffix(path.Base(key), ".zst"), "-")
		revision, parseErr := strconv.ParseInt(last, 10, 64)
		if parseErr != nil {
			return blob, parseErr
		}
		fmt.Println(revision, time.Now().UnixNano())
	}
	return blob, err
}
