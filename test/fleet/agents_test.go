//go:build fleet

package fleet

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// agentsKilled kills the agents of all machines every ten seconds, for two minutes. Whatever they started runs on. When a
// moment comes, something is done in between.
func agentsKilled(ctx context.Context, f *fleet, moment <-chan time.Time, between func()) (string, error) {
	all, before, err := f.running(ctx)
	if err != nil {
		return "", err
	}
	const times = 12
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for done := 0; done < times; {
		select {
		case <-moment:
			between()
		case <-tick.C:
			if err := onEach(ctx, all, killAgent); err != nil {
				return "", err
			}
			done++
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return fmt.Sprintf(", %d agents killed %d times, their units ran on", len(all), times), f.runOn(ctx, before)
}

func killAgent(ctx context.Context, m *machine) error {
	_, err := m.Run(ctx, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", "rekindle.service")
	return err
}

// upgrade installs the package of a newer agent on all machines, while they are written to.
func upgrade(ctx context.Context, f *fleet) (string, error) {
	all, before, err := f.running(ctx)
	if err != nil {
		return "", err
	}
	deb, err := os.ReadFile(newerDeb(f.dir))
	if err != nil {
		return "", err
	}
	start := time.Now()
	err = f.inTurn(ctx, func(ctx context.Context, some []*machine) error {
		if err := onEach(ctx, some, func(ctx context.Context, m *machine) error {
			if err := m.Place("/root/rekindle.deb", deb, 0o644); err != nil {
				return err
			}
			_, err := m.Run(ctx, "sh", "-c", "dpkg --install /root/rekindle.deb && rm /root/rekindle.deb")
			return err
		}); err != nil {
			return err
		}
		return f.awaited(ctx, func(context.Context) error {
			for _, m := range some {
				if s, err := m.status(); err != nil || s.Agent.Version != newVersion {
					return named(m, fmt.Errorf("its agent is not %s: %w", newVersion, err))
				}
				if err := f.says(m); err != nil {
					return named(m, err)
				}
			}
			return nil
		})
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(", %d agents are %s after %.0f s, their units ran on", len(all), newVersion, time.Since(start).Seconds()), f.runOn(ctx, before)
}

// running are all machines, and by each the processes of its units.
func (f *fleet) running(ctx context.Context) ([]*machine, map[*machine]string, error) {
	all := f.all()
	pids := make([]string, len(all))
	work, ctx := errgroup.WithContext(ctx)
	for i, m := range all {
		work.Go(func() (err error) {
			pids[i], err = m.Run(ctx, "systemctl", "show", "--property=Id,MainPID,ActiveEnterTimestampMonotonic", "containerd", "kubelet", "etcd-main")
			return err
		})
	}
	err := work.Wait()
	by := map[*machine]string{}
	for i, m := range all {
		by[m] = pids[i]
	}
	return all, by, err
}

// runOn wants the machines' units to be the processes that they were.
func (f *fleet) runOn(ctx context.Context, before map[*machine]string) error {
	_, now, err := f.running(ctx)
	if err != nil {
		return err
	}
	for m, was := range before {
		if now[m] != was {
			return named(m, fmt.Errorf("its units were\n%s\nand are\n%s", was, now[m]))
		}
	}
	return nil
}

// onEach does something to machines side by side.
func onEach(ctx context.Context, machines []*machine, do func(context.Context, *machine) error) error {
	work, ctx := errgroup.WithContext(ctx)
	for _, m := range machines {
		work.Go(func() error { return named(m, do(ctx, m)) })
	}
	return work.Wait()
}
