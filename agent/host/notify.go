package host

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notify tells systemd, if it started this process, how it goes: "READY=1", "STATUS=waiting for tags". Several
// assignments are lines. Without systemd it does nothing.
func Notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("sd_notify: %w", err)
	}
	return nil
}

// Ready is the state of a service that is up.
const Ready = daemon.SdNotifyReady

// Watchdog tells systemd that this process lives, twice in every WatchdogSec and as long as healthy agrees, until ctx
// ends. It returns at once when the unit has no WatchdogSec. What healthy returns goes to the log: systemd kills the
// process when it stays unhealthy, and the journal should say why.
func Watchdog(ctx context.Context, log *slog.Logger, healthy func() error) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	if interval == 0 {
		return nil
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		if err := healthy(); err != nil {
			log.Error("unhealthy: the watchdog is not fed", "err", err)
		} else if err := Notify(daemon.SdNotifyWatchdog); err != nil {
			log.Warn("watchdog not fed", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
