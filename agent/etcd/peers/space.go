package peers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// SpaceOptions bound what FreeSpace does.
type SpaceOptions struct {
	Margin int64   // revisions that stay at first, for watches that are a little behind; 0: 1,000
	Share  float64 // of the quota that may be in use for the alarm to be ended; 0: 0.8
}

// Space is what came of it.
type Space struct {
	Alarmed      bool // there was a NOSPACE alarm
	Disarmed     bool
	Compacted    int64          // to this revision
	Defragmented []Defragmented // in order
	Advice       string         // what the operator must do; empty when Disarmed or nothing was wrong
	Fill         []Usage        // who fills the database, the largest first; with Advice only
}

// FreeSpace solves a NOSPACE alarm as far as history and free pages are what fills the database: it compacts, defragments
// one member after the other, and ends the alarm when every member then uses well less than its quota. Where live keys
// fill it, the alarm stays, and Advice says so.
//
// Kubernetes' API server compacts by itself every five minutes, but not under this alarm: it first writes the revision
// into etcd, and that write is refused. So the history stays until somebody else compacts.
//
// The same rules as for Defragment hold for who may call it.
func (c *Client) FreeSpace(ctx context.Context, o SpaceOptions) (Space, error) {
	if o.Margin == 0 {
		o.Margin = 1000
	}
	if o.Share == 0 {
		o.Share = 0.8
	}
	var s Space
	all, err := c.Alarms(ctx)
	if err != nil {
		return s, err
	}
	for _, a := range all {
		if a.Kind == Corrupt {
			s.Advice = a.Remedy
			return s, nil
		}
		s.Alarmed = s.Alarmed || a.Kind == NoSpace
	}
	if !s.Alarmed {
		return s, nil
	}
	if err := c.free(ctx, o, &s); err != nil {
		return s, fmt.Errorf("free space: %w", err)
	}
	view, err := c.View(ctx)
	if err != nil {
		return s, fmt.Errorf("free space: %w", err)
	}
	full := Full(view, c.healths(ctx), o.Share)
	if len(full) == 0 {
		if err := c.disarm(ctx); err != nil {
			return s, fmt.Errorf("free space: end the alarm: %w", err)
		}
		s.Disarmed = true
		return s, nil
	}
	s.Advice = strings.Join(full, "; ") + ": delete what is not needed, or raise etcd.quotaBytes on all masters"
	if s.Fill, err = c.Usage(ctx); err != nil {
		return s, fmt.Errorf("free space: who fills the database: %w", err)
	}
	return s, nil
}

// free compacts and then defragments every member.
func (c *Client) free(ctx context.Context, o SpaceOptions, s *Space) error {
	var err error
	if s.Compacted, err = c.compact(ctx, o.Margin); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	overfull := func(h Health) bool { return h.overfull(o.Share) }
	if slices.ContainsFunc(c.healths(ctx), overfull) { // then those watches have to begin anew
		if s.Compacted, err = c.compact(ctx, 0); err != nil {
			return fmt.Errorf("compact: %w", err)
		}
	}
	began, last := time.Now(), map[string]time.Time{}
	policy := DefragPolicy{Spare: -1, Share: 1e-9, Every: 1000 * time.Hour, Stall: true}
	for {
		done, err := c.Defragment(ctx, policy, last)
		if err != nil {
			return err
		}
		if done.Name == "" {
			c.logger.Info("no further member is defragmented", "why", done.Why)
			return nil
		}
		last[done.Name] = began
		s.Defragmented = append(s.Defragmented, done)
	}
}

// compact forgets history up to margin revisions ago and waits until it is gone from every voter.
func (c *Client) compact(ctx context.Context, margin int64) (int64, error) {
	all := c.healths(ctx)
	size := int64(0)
	for _, h := range all {
		size = max(size, h.DBSize)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second+time.Duration(size/slowest)*time.Second)
	defer cancel()
	current, err := c.revision(ctx)
	if err != nil {
		return 0, err
	}
	to := current - margin
	if to < 1 {
		return 0, nil
	}
	// The size in use lags one commit behind, and under the alarm hardly anything commits: the second compaction does.
	for _, at := range []int64{max(to-1, 1), to} {
		for _, h := range all {
			if err := c.compactOn(ctx, h, at); err != nil {
				return 0, fmt.Errorf("%s: %w", h.Name, err)
			}
		}
	}
	return to, nil
}

// compactOn waits for the disk of one member, also when the revision is compacted already.
func (c *Client) compactOn(ctx context.Context, h Health, at int64) error {
	if h.Learner { // it compacts in its own time
		return nil
	}
	_, err := c.member(h).client.Compact(ctx, at, clientv3.WithCompactPhysical())
	if errors.Is(err, rpctypes.ErrCompacted) {
		return nil
	}
	return err
}

// Full says which members do not answer, use more of their quota than the share, or have not given back what they do not
// use. It is pure.
func Full(view View, all []Health, share float64) []string {
	var full []string
	for _, m := range view.Members {
		at := slices.IndexFunc(all, func(h Health) bool { return h.ID == m.ID })
		if at < 0 {
			full = append(full, fmt.Sprintf("%s (%x) does not answer", m.Name, m.ID))
			continue
		}
		switch h := all[at]; {
		case h.Quota < 0: // none
		case h.overfull(share):
			full = append(full, fmt.Sprintf("%s uses %d of %d bytes", h.Name, h.DBInUse, h.Quota))
		case h.DBSize >= h.Quota: // the quota counts the file, not what is in use
			full = append(full, fmt.Sprintf("%s is not defragmented: %d of %d bytes", h.Name, h.DBSize, h.Quota))
		}
	}
	return full
}

func (h Health) overfull(share float64) bool {
	return h.Quota >= 0 && float64(h.DBInUse) >= share*float64(h.Quota)
}
