package main

import (
	"context"
	"errors"
	"fmt"

	"rekindle/test/lab/node"
	"rekindle/test/lab/verify"
)

// one loses the only master. Its Auto Scaling group launches another, which restores etcd from the store; the minions go on,
// and one more joins.
func (s *stage) one(ctx context.Context) error {
	lost := s.masters()
	others := s.others()
	client, err := s.etcd.Dial(lost...)
	if err != nil {
		return err
	}
	before, err := s.write(ctx, client, "one")
	if err := errors.Join(err, client.Close()); err != nil {
		return err
	}
	if err := s.stored(ctx, &before); err != nil {
		return err
	}
	running := verify.Keep(others)
	followers, err := s.follow(ctx, lost)
	if err != nil {
		return err
	}
	defer followers.stop()
	killed, err := s.kill(lost)
	if err != nil {
		return err
	}
	client, took, err := s.comeBack(ctx, killed, 1, lost)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := s.picture(ctx, s.masters()[0], "master-rebuilt"); err != nil {
		return err
	}
	if err := errors.Join(s.newMinion(ctx), followers.settle(ctx, killed)); err != nil {
		return err
	}
	return errors.Join(s.compare(ctx, client, "the only master", before, took), followers.told(0), s.goOn(ctx, running))
}

// newMinion has one more minion join, through whatever master there is now.
func (s *stage) newMinion(ctx context.Context) error {
	old := s.region.Members("minion")
	if len(old) == 0 {
		return nil
	}
	fresh := func() []*node.Node {
		now, _ := s.region.AwaitMembers(ctx, "minion", 0, ids(old)...) //nolint:errcheck // it waits for nothing
		return now
	}
	return s.during("grow", func() string { return s.telling(fresh()) }, func() (string, error) {
		if err := s.region.Cloud.SetDesired("minion", len(old)+1); err != nil {
			return "", err
		}
		nodes, err := s.region.AwaitMembers(ctx, "minion", 1, ids(old)...)
		if err != nil {
			return "", err
		}
		return nodes[0].ID + ", a new minion, has joined through the new master", allReady(ctx, nodes)
	})
}

// goOn checks that the nodes besides the masters did not notice, and that their certificates are good for the masters there
// are.
func (s *stage) goOn(ctx context.Context, running *verify.Kept) error {
	kept, err := running.Check()
	err = s.told("minions", fmt.Sprintf("go on: %d processes, all as before", kept), err)
	return errors.Join(err, s.suite.Some(ctx, s.check, "ready", "kubelet", "identity", "kubelets"))
}
