package main

import (
	"context"
	"fmt"
)

const kernelName = "mixed over a link of the kernel"

// The link of the kernel: its rate in bytes a second, and the bytes that can wait for it.
const (
	wireRate  = 100e6 / 8
	wireQueue = wireRate / 10
)

// overKernel measures calls while one stream fills a connection over a link of the kernel.
func overKernel(ctx context.Context, s settings, p *peer) (values, error) {
	w, err := newWire(wireRate, wireQueue)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotOffered, err)
	}
	defer w.close()
	s.wire, s.streams = w, 1
	got, err := mixed(ctx, s, p)
	if err == nil {
		got["share"] = got["bytes"] / wireRate
	}
	return got, err
}
