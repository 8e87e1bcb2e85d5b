package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/klauspost/compress/zstd"
	clientv3 "go.etcd.io/etcd/client/v3"

	"rekindle/agent/store"
)

// Source is the one member that is asked. *clientv3.Client is a Source.
type Source interface {
	Endpoints() []string // exactly one
	Status(ctx context.Context, endpoint string) (*clientv3.StatusResponse, error)
	SnapshotWithVersion(ctx context.Context) (*clientv3.SnapshotResponse, error)
}

// Checking says how a backup is checked after it was uploaded.
type Checking string

const (
	CheckFull  Checking = "full"  // read everything back and compare the digests of all chunks
	CheckSizes Checking = "sizes" // compare the sizes that the store lists
)

// Options say what is backed up, and to where. Those without a default are required.
type Options struct {
	Etcd    Source
	Blobs   store.Blobs
	Records store.Records // of the same store: the manifest is written by a conditional write

	Cluster    string // main or events
	UID        string // of the lineage
	Generation int
	Member     string // whose etcd is asked

	SpoolDir string // on the node's disk; made when missing
	Reserve  int64  // bytes that stay free there; 0: 256 MiB

	Level   zstd.EncoderLevel // 0: fastest
	Workers int               // chunks compressed or checked at once; 0: half the CPUs. Each takes up to 25 MiB
	Check   Checking          // empty: full
	Rate    int64             // bytes a second that etcd is asked to send, for the sake of its other clients; 0: 64 MiB
	Stall   time.Duration     // how long etcd may send nothing; 0: 30 s

	// Fence is asked right before the backup begins to count: does the lineage still stand? Its error ends the backup.
	Fence func(context.Context) error
	// Began is told, by Take itself, when the snapshot is on the disk and its revision known: from then on deltas may follow
	// it, although it does not count yet. Of the manifest it gets all but the chunks and Stored. nil: nobody asks.
	Began func(Entry, Manifest)
	Log   *slog.Logger // nil: silent

	now  func() time.Time
	free func(dir string) (int64, error)
}

func (o *Options) complete() error {
	switch {
	case o.Etcd == nil || o.Blobs == nil || o.Records == nil || o.Fence == nil:
		return errors.New("Options.Etcd, Blobs, Records and Fence are required")
	case len(o.Etcd.Endpoints()) != 1:
		return fmt.Errorf("the client has %d endpoints: status and snapshot must be of one member", len(o.Etcd.Endpoints()))
	case o.Cluster == "" || o.UID == "" || o.Member == "" || o.Generation < 1:
		return errors.New("Options.Cluster, UID, Member and Generation are required")
	case o.SpoolDir == "":
		return errors.New("Options.SpoolDir is required")
	case o.Check != "" && o.Check != CheckFull && o.Check != CheckSizes:
		return fmt.Errorf("Options.Check %q: neither %s nor %s", o.Check, CheckFull, CheckSizes)
	}
	o.Reserve = cmp.Or(o.Reserve, 256<<20)
	o.Level = cmp.Or(o.Level, zstd.SpeedFastest)
	o.Workers = cmp.Or(o.Workers, workers())
	o.Rate = cmp.Or(o.Rate, 64<<20)
	o.Stall = cmp.Or(o.Stall, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.free == nil {
		o.free = freeSpace
	}
	return nil
}

// workers leaves etcd half of the CPUs.
func workers() int { return max(1, runtime.GOMAXPROCS(0)/2) }
