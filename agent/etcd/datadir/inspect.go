package datadir

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Options are those of what runs in a process of its own.
type Options struct {
	Exe      string        // a program that calls Offline for "<Exe> etcd-offline <job> <dir>"; "": this one
	Deadline time.Duration // for the process; 0: two minutes, and a second for every 32 MiB of data
}

// Inspect finds out what a member's directory holds. It changes nothing, and waits for nothing but its own reading.
//
// Whatever may hang, crash or eat memory on damaged data runs in a process of its own, which is killed at the deadline.
// Data is Torn when etcd would not start from it, or would start without something that it had applied. What is not the
// data's fault is an error: permissions, a disk that fails or is slow, no memory, data of a newer etcd, a damaged or
// foreign marker.
func Inspect(ctx context.Context, dir string, o Options) (Found, error) {
	found, err := o.inspect(ctx, dir)
	if err != nil {
		return Found{}, fmt.Errorf("etcd data in %s: %w", dir, err)
	}
	return found, nil
}

func (o Options) inspect(ctx context.Context, dir string) (Found, error) {
	marker, err := current(dir)
	if err != nil {
		return Found{}, err
	}
	found := Found{State: Empty, Marker: marker}
	if empty, err := hollow(memberDir(Data(dir))); empty || err != nil {
		return found, err
	}
	held, err := busy(Data(dir))
	if err != nil {
		return Found{}, err
	}
	if held {
		found.State = Busy
		return found, nil
	}
	seen, err := o.run(ctx, JobCheck, dir)
	if err != nil {
		return Found{}, err
	}
	found.State, found.Why, found.Position = seen.State, seen.Why, seen.Position
	return found, found.match(seen.Member)
}

// match refuses data that is another member's than the marker says. Set aside it would be lost to both.
func (f Found) match(member string) error {
	if f.State != Sound || f.Marker == nil || member == "" || member == f.Marker.Member {
		return nil
	}
	return fmt.Errorf("%s is the marker of member %s, and the data is of member %s: put that member's marker there",
		markerName, f.Marker.Member, member)
}

// Extract makes one database file of everything that a member's data holds: its database, and what its log has beyond
// that. The log is taken to its end, not to what the member had heard to be committed: a write that was acknowledged may
// be in that last part, and is in it if the member was the most advanced one. The data itself stays as it is, byte for
// byte; it must be sound, and etcd must not run on it.
//
// The file lies in Scratch(dir), which a later Extract replaces and the caller removes. Its metadata still names the old
// member: a restore from it gives it a new one.
func Extract(ctx context.Context, dir string, o Options) (db string, err error) {
	held, err := busy(Data(dir))
	if err == nil && held {
		err = errors.New("etcd runs on it: stop it first")
	}
	if err != nil {
		return "", fmt.Errorf("etcd data in %s: %w", dir, err)
	}
	made, err := o.run(ctx, JobRescue, dir)
	switch {
	case err != nil:
		return "", fmt.Errorf("etcd data in %s: extract: %w", dir, err)
	case made.State != Sound:
		return "", fmt.Errorf("etcd data in %s is %s: %s: it cannot be rescued: set it aside and restore a backup", dir, made.State, made.Why)
	}
	return dbPath(Scratch(dir)), nil
}
