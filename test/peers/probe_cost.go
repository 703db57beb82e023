package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"runtime"
	"time"
)

// usage is the resources that this process uses.
type usage struct {
	bytes      int64 // heap and stacks
	goroutines int
}

// inUse waits until everything is idle, and measures after several collections: the
// second one frees the contents of pools, and the next one what these referred to.
func inUse(ctx context.Context, settle time.Duration) usage {
	pause(ctx, settle)
	now := int64(math.MaxInt64)
	for range 10 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		before := now
		now = min(now, int64(m.HeapAlloc+m.StackInuse))
		if before-now < 1<<10 {
			break
		}
	}
	return usage{now, runtime.NumGoroutine()}
}

// each returns the usage of one of n things.
func (u usage) each(before usage, n int) values {
	return values{
		"bytes":      float64(u.bytes-before.bytes) / float64(n),
		"goroutines": float64(u.goroutines-before.goroutines) / float64(n),
	}
}

// idleEnds measures the cost of one side of an idle connection. One connection exists
// before, so that shared resources do not count.
func idleEnds(ctx context.Context, s settings, p *peer) (values, error) {
	if p.name == minimalName || p.name == minimalCallsName {
		return nil, errNotOffered // the minimal programs have large buffers for the other rows
	}
	server, err := p.start(&service{})
	if err != nil {
		return nil, err
	}
	links := make([]link, 0, s.idle+1)
	defer func() {
		for _, l := range links {
			l.close()
		}
		server.close()
	}()
	var before usage
	for i := range s.idle + 1 {
		l, err := server.dial()
		if err != nil {
			return nil, err
		}
		links = append(links, l)
		if i == 0 {
			before = inUse(ctx, s.settle)
		}
	}
	return inUse(ctx, s.settle).each(before, 2*s.idle), ctx.Err()
}

// connections measures connections per second that are made one after the other, used for one
// call, and closed.
func connections(ctx context.Context, s settings, p *peer) (values, error) {
	if p.name == minimalName || p.name == minimalCallsName {
		return nil, errNotOffered // the minimal programs have large buffers for the other rows
	}
	answer := answers(callSize)
	server, err := p.start(&service{answer: answer, security: s.security})
	if err != nil {
		return nil, err
	}
	defer server.close()
	return pace(ctx, s, 1, func(int) func() error {
		return func() error {
			l, err := server.dial()
			if err != nil {
				return err
			}
			defer l.close()
			all, err := callers(l, 1)
			if err != nil {
				return err
			}
			got, err := all[0](pattern[:callSize])
			if err == nil && !bytes.Equal(got, answer(pattern[:callSize])) {
				err = errUnexpected
			}
			return err
		}
	})
}

// idleStreams measures the cost of an idle stream, both sides together.
func idleStreams(ctx context.Context, s settings, p *peer) (values, error) {
	if p.role == reference {
		return nil, errNotOffered
	}
	var got values
	err := with(s, p, &service{}, func(l link) error {
		st, ok := l.(streaming)
		if !ok {
			return errNotOffered
		}
		kept := make([]io.Closer, 0, 2*(s.parked+1))
		var before usage
		for i := range s.parked + 1 {
			opener, accepted, err := st.open()
			if err != nil {
				return err
			}
			kept = append(kept, opener, accepted)
			if i == 0 {
				before = inUse(ctx, s.settle)
			}
		}
		got = inUse(ctx, s.settle).each(before, s.parked)
		runtime.KeepAlive(kept)
		return ctx.Err()
	})
	return got, err
}

// allocations counts the allocations of both sides together in a call, in an acknowledged
// message, and in a write of 256 bytes that the other side reads.
func allocations(ctx context.Context, s settings, p *peer) (values, error) {
	got := values{}
	var r receiver
	answer := answers(callSize)
	for name, prepare := range map[string]func(link) (func() error, error){
		"call": func(l link) (func() error, error) {
			all, err := callers(l, 1)
			if err != nil {
				return nil, err
			}
			return func() error {
				_, err := all[0](pattern[:callSize])
				return err
			}, verifyCalls(all, answer)
		},
		"message": func(l link) (func() error, error) {
			all, err := publishers(l, 1)
			if err != nil {
				return nil, err
			}
			return func() error { return all[0](pattern[:messageSize]) }, r.verify(l, all)
		},
		"bytes": func(l link) (func() error, error) {
			st, ok := l.(streaming)
			if !ok {
				return nil, errNotOffered
			}
			opener, accepted, err := st.open()
			if err != nil {
				return nil, err
			}
			p := make([]byte, callSize)
			return func() error {
				if _, err := opener.Write(pattern[:callSize]); err != nil {
					return err
				}
				_, err := io.ReadFull(accepted, p)
				return err
			}, verifyStream(opener, accepted, callSize)
		},
	} {
		err := with(s, p, &service{answer: answer, message: r.receive}, func(l link) error {
			op, err := prepare(l)
			if err != nil {
				return err
			}
			got[name], err = mallocs(s.counted, op)
			return err
		})
		if err != nil && !errors.Is(err, errNotOffered) {
			return nil, err
		}
	}
	return got, ctx.Err()
}

// mallocs returns the number of allocations of an operation, on all goroutines.
func mallocs(n int, op func() error) (float64, error) {
	var before, after runtime.MemStats
	for i := range 2 * n {
		if i == n {
			runtime.ReadMemStats(&before)
		}
		if err := op(); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n), nil
}
