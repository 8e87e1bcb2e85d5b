package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"rekindle/agent/status"
	"rekindle/agent/store"
)

// attempts bounds a change: with five masters at once the unluckiest needs about as many as there are masters.
const attempts = 12

const (
	firstPause = 50 * time.Millisecond // before the second attempt; it doubles
	lastPause  = 2 * time.Second
)

// Seeds are the masters that announced themselves, the newest first. A record that does not exist is an empty one; one
// that cannot be read or understood is an error, and says nothing about the masters.
func Seeds(ctx context.Context, records store.Records) ([]Seed, error) {
	data, _, err := records.Get(ctx, SeedsKey)
	if errors.Is(err, store.ErrAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parse(data)
}

// Announce writes that self lives, at this moment; Announced need not be set. It writes nothing while an equal seed is
// less than an hour old, so it may be called at every resync.
//
// A record that cannot be understood is replaced: seeds are hints, and every master announces itself again. Seeds that
// are older than 30 days go, and those of other instances that have one of self's addresses: EC2 gave it to this one.
func Announce(ctx context.Context, records store.Records, self Seed) error {
	if err := self.check(); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return change(ctx, records, "announce", func(seeds []Seed) []Seed {
		self.Announced = time.Now().UTC().Truncate(time.Second)
		return announced(seeds, self)
	})
}

// Withdraw takes the seeds of instances that are no more out. One that is not there is no error, nor is a record that cannot
// be understood.
func Withdraw(ctx context.Context, records store.Records, instances ...string) error {
	gone := func(s Seed) bool { return slices.Contains(instances, s.Instance) }
	return change(ctx, records, "withdraw", func(seeds []Seed) []Seed {
		if !slices.ContainsFunc(seeds, gone) {
			return nil
		}
		return slices.DeleteFunc(seeds, gone)
	})
}

// announced is what the record should hold, or nil when it does already.
func announced(seeds []Seed, self Seed) []Seed {
	rest := slices.DeleteFunc(slices.Clone(seeds), func(s Seed) bool { return s.Instance == self.Instance || s.shares(self) })
	if i := slices.IndexFunc(seeds, func(s Seed) bool { return s.same(self) }); i >= 0 && len(rest) == len(seeds)-1 {
		// Absolute: a clock that went back must not keep a seed unrenewed for years.
		if self.Announced.Sub(seeds[i].Announced).Abs() < renewAge {
			return nil
		}
	}
	for i := range rest {
		if rest[i].Announced.After(self.Announced) {
			rest[i].Announced = self.Announced // by a clock that is ahead: let it grow old from now on
		}
	}
	rest = slices.DeleteFunc(rest, func(s Seed) bool { return self.Announced.Sub(s.Announced) > maxAge })
	return tidy(append([]Seed{self}, rest...))
}

// same is true if both say the same, whenever they said it.
func (s Seed) same(o Seed) bool {
	return s.Instance == o.Instance && s.JoinPort == o.JoinPort && slices.Equal(s.Addresses, o.Addresses)
}

// shares is true if both have an address.
func (s Seed) shares(o Seed) bool {
	for _, address := range s.Addresses {
		if slices.Contains(o.Addresses, address) {
			return true
		}
	}
	return false
}

// change replaces the record by what edit makes of it, until no other writer came between; nil leaves it as it is.
//
// A write whose response was lost looks like a conflict or an error. The next attempt then finds that nothing is left to
// do.
func change(ctx context.Context, records store.Records, verb string, edit func([]Seed) []Seed) error {
	waited := func() {}
	defer func() { waited() }()
	for n := 0; ; n++ {
		err := try(ctx, records, edit)
		if err == nil {
			return nil
		}
		if n == attempts-1 || ctx.Err() != nil {
			return fmt.Errorf("%s: %w", verb, err)
		}
		if n == 0 {
			waited = status.Waiting(ctx, "discovery: "+verb, "the store to take "+SeedsKey)
		}
		select {
		case <-time.After(rand.N(min(firstPause<<n, lastPause))):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", verb, context.Cause(ctx), err)
		}
	}
}

func try(ctx context.Context, records store.Records, edit func([]Seed) []Seed) error {
	data, version, err := records.Get(ctx, SeedsKey)
	if err != nil && !errors.Is(err, store.ErrAbsent) {
		return err
	}
	seeds, err := parse(data)
	if err != nil {
		seeds = nil // absent, or not to be understood: as if nobody had announced himself
	}
	wanted := edit(seeds)
	if wanted == nil {
		return nil
	}
	if data, err = encode(wanted); err != nil {
		return err
	}
	_, err = records.Put(ctx, SeedsKey, data, version)
	return err
}
