package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"rekindle/agent/assets"
)

// fetch is what is measured: the agent's own way from a store to a cache. Like a boot, and like awscli, it leaves the
// writing to the kernel, unless it is told to wait for the disk.
func fetch(ctx context.Context, url, cache string, synced bool) error {
	store, err := assets.Open(ctx, assets.Options{
		Sources: []assets.Source{target(url)}, CacheDir: cache, SyncLater: !synced,
	})
	if err != nil {
		return err
	}
	if err := store.Prefetch(ctx, "."); err != nil {
		return err
	}
	peak, err := peakRSS()
	if err != nil {
		return err
	}
	fmt.Println(peak)
	return nil
}

// peakRSS is the most memory that this process has held, in bytes. It is read from inside: what wait4 reports of a
// child begins with the memory of the parent that it was forked from.
func peakRSS() (int64, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status: no VmHWM")
}
