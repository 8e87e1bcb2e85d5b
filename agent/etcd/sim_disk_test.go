package etcd

import (
	"context"
	"fmt"
	"maps"

	"rekindle/agent/etcd/datadir"
	"rekindle/agent/plan"
)

// volume is a member's disk: it outlives its instance, or not.
type volume struct {
	data    *state
	marker  *datadir.Marker
	next    *state // what a rescue has built beside the data
	nextFor int    // the generation that it is for
	aside   []*state
	lost    bool // its contents are gone, or nobody has it
}

// disk is a Disk on the node's volume. Each step that a cut can come after is an operation of its own.
type disk struct{ *agent }

func (d disk) do(ctx context.Context, what string, effect func(v *volume) error) error {
	return d.op(ctx, what, func() error {
		if d.chance(d.w.faults.disk) {
			return fmt.Errorf("simulated: %s: input/output error", what)
		}
		return effect(d.n.volume)
	})
}

func (d disk) Inspect(ctx context.Context, _ plan.Etcd) (found datadir.Found, err error) {
	err = d.do(ctx, "inspect", func(v *volume) error {
		found = datadir.Found{State: datadir.Empty}
		if v.marker != nil {
			marker := *v.marker
			found.Marker = &marker
		}
		switch {
		case v.data == nil:
		case d.n.etcd:
			found.State = datadir.Busy
		case v.data.torn:
			found.State, found.Why = datadir.Torn, "simulated"
		default:
			found.State, found.Position = datadir.Sound, v.data.position()
		}
		return nil
	})
	return found, err
}

func (d disk) Gone(ctx context.Context, _ plan.Etcd) (gone bool, err error) {
	err = d.do(ctx, "gone", func(v *volume) error {
		gone = v.data == nil
		return nil
	})
	return gone, err
}

func (d disk) Busy(ctx context.Context, _ plan.Etcd) (busy bool, err error) {
	err = d.do(ctx, "busy", func(*volume) error {
		busy = d.n.etcd
		return nil
	})
	return busy, err
}

func (d disk) Mark(ctx context.Context, _ plan.Etcd, marker datadir.Marker) error {
	return d.do(ctx, "mark", func(v *volume) error {
		v.marker = &marker
		return nil
	})
}

func (d disk) SetAside(ctx context.Context, _ plan.Etcd, why string) error {
	return d.do(ctx, "set aside", func(v *volume) error { return d.setAside(v, why) })
}

func (d disk) setAside(v *volume, why string) error {
	if d.n.etcd {
		d.w.fail("%s sets data aside on which etcd runs", d.n.name)
	}
	if v.data != nil {
		d.w.tell(d.n.name, "sets aside %s: %s", v.data.name, why)
		v.aside = append(v.aside, v.data)
		v.data, v.marker = nil, nil
	}
	return nil
}

// Build does what Directory.Build does, in the same steps.
func (d disk) Build(ctx context.Context, member plan.Etcd, order Build) (built Built, err error) {
	if !order.Own {
		if err := d.Mark(ctx, member, order.Marker); err != nil {
			return built, err
		}
		return built, d.do(ctx, "restore", func(v *volume) error {
			if v.data != nil {
				d.w.fail("%s restores over data", d.n.name)
			}
			made, from := d.fromBackups(member, order)
			if made == nil {
				return ErrNothingToBuild
			}
			v.data, built.Backup = made, from
			d.w.judge(order, made)
			return nil
		})
	}
	return built, d.fromOwn(ctx, member, order)
}

func (d disk) fromOwn(ctx context.Context, member plan.Etcd, order Build) error {
	err := d.do(ctx, "make the next data", func(v *volume) error {
		switch {
		case v.next != nil && v.nextFor == order.Marker.Generation:
			return nil
		case v.data == nil:
			return ErrNothingToBuild
		case d.n.etcd || v.data.torn:
			return fmt.Errorf("simulated: the data is busy or torn")
		}
		has := v.data.holds()
		v.next, v.nextFor = nil, order.Marker.Generation
		if len(order.Backups) > 0 && order.Backups[0].Reaches() > has.revision {
			first := order
			first.Backups = order.Backups[:1]
			v.next, _ = d.fromBackups(member, first)
		}
		if v.next == nil {
			v.next = d.w.madeOf(member, order, has)
		}
		d.w.judge(order, v.next)
		return nil
	})
	if err == nil {
		err = d.SetAside(ctx, member, "the next generation was made of it")
	}
	if err == nil {
		err = d.Mark(ctx, member, order.Marker)
	}
	if err != nil {
		return err
	}
	return d.do(ctx, "rename the next data", func(v *volume) error {
		v.data, v.next, v.nextFor = v.next, nil, 0
		return nil
	})
}

func (d disk) fromBackups(member plan.Etcd, order Build) (*state, string) {
	for _, entry := range order.Backups {
		if b := d.w.backup(entry.ID); !b.bad {
			return d.w.madeOf(member, order, b.holds), b.ID
		}
	}
	return nil, ""
}

// madeOf is the data of a new generation's first member.
func (w *world) madeOf(member plan.Etcd, order Build, from contents) *state {
	m := order.Marker
	base := contents{revision: from.revision + 1_000_000_000, writes: maps.Clone(from.writes)}
	return w.found(m.UID, m.Token, m.Generation, m.Member, member.PeerURLOf(m.Member), base)
}

// memo is the node's Notes. They die with the node, not with the volume.
type memo struct{ *agent }

func (m memo) Has(plan.Etcd) (has bool, err error) {
	err = m.op(m.ctx, "note?", func() error { has = m.n.note != ""; return nil })
	return has, err
}

func (m memo) Set(_ plan.Etcd, text string) error {
	return m.op(m.ctx, "note", func() error { m.n.note = text; return nil })
}

func (m memo) Clear(plan.Etcd) error {
	return m.op(m.ctx, "clear the note", func() error { m.n.note = ""; return nil })
}
