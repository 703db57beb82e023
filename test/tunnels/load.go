package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// warmUp is how long traffic flows before it is counted.
const warmUp = 200 * time.Millisecond

// newClient returns an HTTP client that keeps so many connections alive.
func newClient(connections int, keepAlive bool) (c *http.Client, closeIdle func()) {
	t := &http.Transport{MaxIdleConns: connections, MaxIdleConnsPerHost: connections, DisableKeepAlives: !keepAlive}
	return &http.Client{Transport: t}, t.CloseIdleConnections
}

// small makes one small request and checks the answer.
func small(ctx context.Context, c *http.Client, addr string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+pathSmall, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || string(body) != answer {
		return fmt.Errorf("unexpected answer: %s, %d bytes", resp.Status, len(body))
	}
	return nil
}

// requests makes small requests, so many at a time, and returns how many were answered in a
// second of the window, and how many in all.
func requests(connections int, keepAlive bool) measure {
	return func(ctx context.Context, addr string, window time.Duration) (rate, units float64, err error) {
		client, closeIdle := newClient(connections, keepAlive)
		defer closeIdle()
		var total, counted atomic.Int64
		var failed atomic.Pointer[error]
		var counting, stop atomic.Bool
		var wg sync.WaitGroup
		for range connections {
			wg.Go(func() {
				for !stop.Load() {
					if err := small(ctx, client, addr); err != nil {
						failed.CompareAndSwap(nil, &err)
						return
					}
					total.Add(1)
					if counting.Load() {
						counted.Add(1)
					}
				}
			})
		}
		time.Sleep(warmUp)
		start := time.Now()
		counting.Store(true)
		time.Sleep(window)
		counting.Store(false)
		elapsed := time.Since(start)
		stop.Store(true)
		wg.Wait()
		if err := failed.Load(); err != nil {
			return 0, 0, *err
		}
		return float64(counted.Load()) / elapsed.Seconds(), float64(total.Load()), nil
	}
}

// mib is the unit of amounts of data.
const mib = 1 << 20

// download reads without end over one connection, and returns the rate in MiB/s.
func download(ctx context.Context, addr string, window time.Duration) (rate, units float64, err error) {
	client, closeIdle := newClient(1, true)
	defer closeIdle()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+pathDownload, nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	buf := make([]byte, 256<<10)
	read := func(d time.Duration) (n int64, elapsed time.Duration, err error) {
		for start := time.Now(); ; {
			m, err := resp.Body.Read(buf)
			n += int64(m)
			if elapsed = time.Since(start); err != nil || elapsed >= d {
				return n, elapsed, err
			}
		}
	}
	before, _, err := read(warmUp)
	if err != nil {
		return 0, 0, err
	}
	n, elapsed, err := read(window)
	return float64(n) / mib / elapsed.Seconds(), float64(before+n) / mib, err
}

// upload writes over one connection, and returns the rate in MiB/s until the web server has
// answered.
func upload(ctx context.Context, addr string, window time.Duration) (rate, units float64, err error) {
	client, closeIdle := newClient(1, true)
	defer closeIdle()
	body := &endless{until: time.Now().Add(window)}
	start := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+pathUpload, body)
	if err != nil {
		return 0, 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n != body.n.Load() {
		return 0, 0, fmt.Errorf("the server has %q bytes of %d", text, body.n.Load())
	}
	return float64(n) / mib / time.Since(start).Seconds(), float64(n) / mib, nil
}

// endless is a request body that ends at a time. net/http may still read it when the server has
// answered early.
type endless struct {
	until time.Time
	n     atomic.Int64 // the number of bytes read
}

func (e *endless) Read(p []byte) (int, error) {
	if !time.Now().Before(e.until) {
		return 0, io.EOF
	}
	e.n.Add(int64(len(p)))
	return len(p), nil
}
