package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	bulk   = 256 << 20 // bytes of a transfer
	chunk  = 256 << 10
	warmup = 64 << 20
)

// transfer is one of bulk data.
type transfer struct {
	speed                 float64 // GB/s
	client, server, proxy float64 // processor seconds for each GiB
	busy                  float64 // processors, by all three
}

// throughput prints the median of the ratios of runs that follow each other.
func (c *comparison) throughput(r *report, name string, pairs int, log *slog.Logger) error {
	buffer := make([]byte, chunk)
	for _, conn := range []net.Conn{c.direct, c.proxied} {
		if err := fetch(conn, warmup, buffer); err != nil {
			return err
		}
	}
	var ratios []float64
	var direct, proxied []transfer
	for range pairs {
		a, err := c.run(c.direct, buffer)
		if err != nil {
			return err
		}
		b, err := c.run(c.proxied, buffer)
		if err != nil {
			return err
		}
		log.Info(name, "direct", a, "proxied", b)
		ratios, direct, proxied = append(ratios, b.speed/a.speed), append(direct, a), append(proxied, b)
	}
	slices.Sort(ratios)
	a, b := medians(direct), medians(proxied)
	r.line(name+"_ratio", ratios[pairs/2], "ratio", fmt.Sprintf("min %.2f  max %.2f  runs %d  direct %.3f GB/s  proxied %.3f GB/s",
		ratios[0], ratios[pairs-1], pairs, a.speed, b.speed))
	r.line(strings.Replace(name, "throughput", "cpu_seconds_per_gib", 1), b.proxy, "s/GiB", fmt.Sprintf(
		"client %.3f  server %.3f  processors busy %.2f of %d; direct: client %.3f  server %.3f  busy %.2f",
		b.client, b.server, b.busy, runtime.NumCPU(), a.client, a.server, a.busy))
	return nil
}

func medians(runs []transfer) transfer {
	median := func(of func(transfer) float64) float64 {
		var all []float64
		for _, r := range runs {
			all = append(all, of(r))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return transfer{
		speed: median(func(r transfer) float64 { return r.speed }), busy: median(func(r transfer) float64 { return r.busy }),
		client: median(func(r transfer) float64 { return r.client }), server: median(func(r transfer) float64 { return r.server }),
		proxy: median(func(r transfer) float64 { return r.proxy }),
	}
}

// run fetches bulk data over a connection.
func (c *comparison) run(conn net.Conn, buffer []byte) (transfer, error) {
	var before, after [3]time.Duration
	processes := [3]int{os.Getpid(), c.server, c.proxy}
	used := func(into *[3]time.Duration) (err error) {
		for i, pid := range processes {
			if into[i], err = cpu(pid); err != nil {
				return err
			}
		}
		return nil
	}
	if err := used(&before); err != nil {
		return transfer{}, err
	}
	began := time.Now()
	err := fetch(conn, bulk, buffer)
	took := time.Since(began).Seconds()
	if err := errors.Join(err, used(&after)); err != nil {
		return transfer{}, err
	}
	each := func(i int) float64 { return (after[i] - before[i]).Seconds() / bulk * (1 << 30) }
	r := transfer{speed: bulk / took / 1e9, client: each(0), server: each(1), proxy: each(2)}
	r.busy = (r.client + r.server + r.proxy) * bulk / (1 << 30) / took
	return r, nil
}
