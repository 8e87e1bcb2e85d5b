package agent

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd what the agent is at (sd_notify(3)); without systemd nobody listens.
func (a *Agent) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.Logger.Debug("sd_notify", "error", err)
	}
}

// watchdog feeds systemd's watchdog (WatchdogSec=), twice as often as it asks for, while the agent's loop is alive: it
// stops when the status board, which every wait and step passes through, can no longer be locked.
func (a *Agent) watchdog(ctx context.Context) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		a.board.Snapshot()
		a.notify(daemon.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
