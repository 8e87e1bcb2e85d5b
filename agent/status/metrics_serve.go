package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// MetricsOff is the address that serves no metrics.
const MetricsOff = "off"

// Bounds of the server. Who scrapes is trusted with what the node says, not with the agent's memory or its time.
const (
	scrapesAtOnce   = 4
	scrapeTimeout   = 10 * time.Second
	healthTimeout   = 5 * time.Second
	headerTimeout   = 5 * time.Second
	idleTimeout     = 3 * time.Minute // Prometheus scrapes every minute or so, and keeps its connection
	headerLimit     = 16 << 10
	shutdownTimeout = 2 * time.Second
)

// Serve serves /metrics and /healthz at listen, an address and port, until ctx ends; at MetricsOff it serves nothing and
// returns at once. The node works without, so an error is a warning on the board, and none of the node's.
func (m *Metrics) Serve(ctx context.Context, listen string, logger *slog.Logger) error {
	if m == nil || listen == MetricsOff {
		return nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", listen)
	if err == nil {
		m.board.Resolve(ReasonMetricsOff)
		logger.Info("metrics", "listen", listener.Addr().String())
		err = m.serve(ctx, listener, logger)
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	err = Fail(ReasonMetricsOff, ReasonMetricsOff.Hint(), fmt.Errorf("metrics: %w", err))
	m.board.SetWarnings(ReasonMetricsOff, "", Message(err))
	return err
}

// serve closes listener.
func (m *Metrics) serve(ctx context.Context, listener net.Listener, logger *slog.Logger) error {
	server := &http.Server{
		Handler:           m.Handler(logger),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      scrapeTimeout + headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerLimit,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		server.Close() // a scrape that lasts ends with the agent
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Handler answers GET and HEAD of /metrics and /healthz.
func (m *Metrics) Handler(logger *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // half of the truth is better than none
		ErrorLog:            slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: scrapesAtOnce,
		Timeout:             scrapeTimeout,
	}))
	mux.Handle("GET /healthz", http.TimeoutHandler(http.HandlerFunc(m.health), healthTimeout, "the agent is stuck\n"))
	return mux
}

// health says whether the agent lives, not whether the node is ready: that is rekindle_state.
func (m *Metrics) health(w http.ResponseWriter, _ *http.Request) {
	alive := m.Alive
	if alive == nil {
		alive = func() error { m.board.Snapshot(); return nil }
	}
	if err := alive(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
