package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"rekindle/agent/discovery"
)

// masterHeader is in which header a master says who it is.
const masterHeader = "Master"

// request is one that was answered.
type request struct {
	began time.Time
	took  time.Duration // repetitions included
	again int           // repetitions
}

// client is one of the node's: a connection and its requests.
type client struct {
	url    string
	http   *http.Transport
	master string // that answered first

	mu       sync.Mutex
	requests []request
}

// newClient has client-go's settings: HTTP/2, a ping after 30 s without a frame, which may take 15 s.
func newClient(at string, roots *x509.CertPool) *client {
	return &client{url: "https://" + at + "/api/v1/nodes/n", http: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: discovery.APIName(cluster), MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}}
}

// first opens the connection.
func (c *client) first(ctx context.Context) (err error) {
	c.master, err = c.ask(ctx)
	return err
}

// poll asks every 100 ms, also while earlier requests have no answer, until beginning ends, and waits for the answers.
// Requests that have none when ctx ends count as if they were answered at that moment.
func (c *client) poll(beginning, ctx context.Context) {
	defer c.http.CloseIdleConnections()
	var under sync.WaitGroup
	defer under.Wait()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-beginning.Done():
			return
		case <-tick.C:
		}
		under.Go(func() {
			r := request{began: time.Now()}
			for {
				if _, err := c.ask(ctx); err == nil || ctx.Err() != nil {
					break
				}
				r.again++
			}
			r.took = time.Since(r.began)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.requests = append(c.requests, r)
		})
	}
}

func (c *client) ask(ctx context.Context) (master string, err error) {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return "", err
	}
	answer, err := c.http.RoundTrip(ask)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", c.url, answer.Status)
	}
	return answer.Header.Get(masterHeader), nil
}

// between are the requests that were under way at a moment, and those that began until another.
func (c *client) between(moment, until time.Time) (some []request) {
	for _, r := range c.requests {
		if r.began.Add(r.took).After(moment) && r.began.Before(until) {
			some = append(some, r)
		}
	}
	return some
}
