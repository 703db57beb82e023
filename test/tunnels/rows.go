package main

import (
	"context"
	"time"
)

// measure makes traffic to addr for a window, and returns the rate and the units of work
// that were done in all. A unit is a request or a MiB.
type measure func(ctx context.Context, addr string, window time.Duration) (rate, units float64, err error)

// row is one kind of traffic.
type row struct {
	name, unit string
	measure    measure
	least      float64 // part of the direct rate that the examples have to reach; 0: no bar
}

// rows returns the measurements.
func rows() []row {
	return []row{
		{"keep-alive, 1 connection", "requests/s", requests(1, true), 0},
		{"keep-alive, 64 connections", "requests/s", requests(64, true), 0},
		{"keep-alive, 512 connections", "requests/s", requests(512, true), 0},
		{"no keep-alive, 1 at a time", "requests/s", requests(1, false), 0},
		{"no keep-alive, 64 at a time", "requests/s", requests(64, false), 0.4},
		{"download", "MiB/s", download, 0},
		{"upload", "MiB/s", upload, 0},
	}
}
