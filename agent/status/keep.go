package status

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// keep writes the file whenever the state changed, but not more often than writeInterval, and every HeartbeatInterval.
// It returns the error of the last write, once Close was called.
func (b *Board) keep() error {
	beat := time.NewTicker(HeartbeatInterval)
	defer beat.Stop()
	pause := time.NewTimer(writeInterval)
	defer pause.Stop()
	healthy := true
	for {
		select {
		case <-b.stop:
			return b.write(true)
		case <-b.changed:
		case <-beat.C:
		}
		err := b.write(false)
		if err != nil && healthy { // once per outage: at ten writes a second the log would be nothing else
			b.log.Warn("status file not written", "path", b.path, "err", err)
		}
		healthy = err == nil
		pause.Reset(writeInterval)
		select {
		case <-b.stop:
			return b.write(true)
		case <-pause.C:
		}
	}
}

func (b *Board) write(last bool) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	b.now.Agent.Heartbeat = time.Now()
	if last {
		b.now.Agent.Stopped = b.now.Agent.Heartbeat
	}
	b.mu.Unlock()
	data, err := json.MarshalIndent(b.Snapshot(), "", "  ")
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return replace(b.path, append(data, '\n'))
}

// Sync writes the file at once, for those who read it when they are told of a change. A Board that is nil has none.
func (b *Board) Sync() error {
	if b == nil {
		return nil
	}
	return b.write(false)
}

// replace puts data at path at once, so that a reader sees the old content or the new. It does not fsync: what it
// writes describes this boot and is worth nothing after the next one.
func replace(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
			err = fmt.Errorf("status: %w", err)
		}
	}()
	defer tmp.Close()
	if err := tmp.Chmod(0o644); err != nil { // not secret, and `rekindle status` should not need root
		return err
	}
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
