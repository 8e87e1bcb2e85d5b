package main

import (
	"context"
	"errors"
	"fmt"

	"rekindle/agent/etcd"
	"rekindle/test/lab/keyspace"
	"rekindle/test/lab/node"
	"rekindle/test/lab/verify"
)

// three grows the masters to three, takes the leader away while somebody writes, and then all of them at once.
func (s *stage) three(ctx context.Context) error {
	if err := s.region.Cloud.SetDesired("master", 3); err != nil {
		return err
	}
	if err := s.ready(ctx, "grow", 3, nil); err != nil {
		return err
	}
	client, err := s.etcd.Dial(s.masters()...)
	if err != nil {
		return err
	}
	before, err := s.write(ctx, client, "three")
	if err := errors.Join(err, client.Close()); err != nil {
		return err
	}
	running := verify.Keep(s.others())
	if err := s.loseLeader(ctx, before); err != nil {
		return err
	}
	if err := s.loseAll(ctx); err != nil {
		return err
	}
	kept, err := running.Check()
	return s.told("minions", fmt.Sprintf("go on: %d processes, all as before", kept), err)
}

// loseLeader takes the leader away while somebody writes and the minions have their answers from it. What was acknowledged is there, the generation stays, and there are
// three members again.
func (s *stage) loseLeader(ctx context.Context, before held) error {
	record, err := s.etcd.Lineage(ctx)
	if err != nil {
		return err
	}
	leader, err := s.leader(ctx)
	if err != nil {
		return err
	}
	rest := s.but([]*node.Node{leader})
	client, err := s.etcd.Dial(rest...)
	if err != nil {
		return err
	}
	defer client.Close()
	followers, err := s.follow(ctx, []*node.Node{leader})
	if err != nil {
		return err
	}
	defer followers.stop()
	writer := startWriter(ctx, client)
	defer writer.stop()
	killed, err := s.kill([]*node.Node{leader})
	if err != nil {
		return err
	}
	if err := s.ready(ctx, "replace", 3, []*node.Node{leader}); err != nil {
		return err
	}
	writer.stop()
	if err := followers.settle(ctx, killed); err != nil {
		return err
	}
	now, err := s.etcd.Lineage(ctx)
	if err != nil {
		return err
	}
	after, err := keyspace.Read(ctx, client, written)
	if err != nil {
		return err
	}
	s.losses = append(s.losses, loss{"the leader of three", writer.longest, before.State, after, record.Generation, now.Generation})
	return errors.Join(
		s.told("data", fmt.Sprintf("%s keys, each as it was written", count(after.Keys)), same(before.State, after)),
		s.told("writes", fmt.Sprintf("%s more were acknowledged meanwhile, and are there; the longest pause was %s",
			count(len(writer.acknowledged)), duration(writer.longest)), writer.check(ctx, client)),
		s.told("lineage", fmt.Sprintf("generation %d, as before; %s", now.Generation, voters(now)),
			wrongIf(now.Generation != record.Generation || now.State != etcd.Running || voters(now) != "3 voters", "%+v", now)),
		followers.told(goOnLimit),
	)
}

// leader is the master whose member leads.
func (s *stage) leader(ctx context.Context) (*node.Node, error) {
	for _, n := range s.masters() {
		client, err := s.etcd.Dial(n)
		if err != nil {
			return nil, err
		}
		about, err := client.Status(ctx, client.Endpoints()[0])
		if err := errors.Join(err, client.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", n.ID, err)
		}
		if about.Leader == about.Header.MemberId {
			return n, nil
		}
	}
	return nil, errors.New("no master's member leads")
}

// loseAll loses every master at once.
func (s *stage) loseAll(ctx context.Context) error {
	lost := s.masters()
	client, err := s.etcd.Dial(lost...)
	if err != nil {
		return err
	}
	before, err := s.write(ctx, client, "all")
	if err := errors.Join(err, client.Close()); err != nil {
		return err
	}
	if err := s.stored(ctx, &before); err != nil {
		return err
	}
	followers, err := s.follow(ctx, lost)
	if err != nil {
		return err
	}
	defer followers.stop()
	killed, err := s.kill(lost)
	if err != nil {
		return err
	}
	client, took, err := s.comeBack(ctx, killed, len(lost), lost)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := errors.Join(s.picturesOfAll(ctx), followers.settle(ctx, killed)); err != nil {
		return err
	}
	return errors.Join(s.compare(ctx, client, "all three masters", before, took), followers.told(0))
}

// picturesOfAll draws the boot of the master that restored, and of those that joined it.
func (s *stage) picturesOfAll(ctx context.Context) error {
	record, err := s.etcd.Lineage(ctx)
	if err != nil {
		return err
	}
	joined := 0
	for _, n := range s.masters() {
		name := "all-restored"
		if record.Members[0].Instance != n.ID {
			joined++
			name = fmt.Sprintf("all-joined-%d", joined)
		}
		if err := s.picture(ctx, n, name); err != nil {
			return err
		}
	}
	return nil
}
