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

// idleEnds measures the cost of one side of an idle connection.
func idleEnds(ctx context.Context, s settings, p *peer) (values, error) {
	return heldBy(ctx, s, p, func(link) error { return nil })
}

// usedEnds measures the same after one call.
func usedEnds(ctx context.Context, s settings, p *peer) (values, error) {
	return heldBy(ctx, s, p, func(l link) error {
		all, err := callers(l, 1)
		if err == nil {
			_, err = all[0](pattern[:callSize])
		}
		return err
	})
}

// clients measures calls over many connections, one in flight on each.
func clients(ctx context.Context, s settings, p *peer) (values, error) {
	if !p.overTCP {
		return nil, errNotOffered // it would take minutes to connect
	}
	server, err := p.start(&service{answer: answers(callSize), security: s.security})
	if err != nil {
		return nil, err
	}
	var links []link
	defer func() {
		for _, l := range links {
			l.close()
		}
		server.close()
	}()
	var calls []call
	for range s.clients {
		l, err := server.dial()
		if err != nil {
			return nil, err
		}
		links = append(links, l)
		all, err := callers(l, 1)
		if err != nil {
			return nil, err
		}
		calls = append(calls, all...)
	}
	return pace(ctx, s, s.clients, func(i int) func() error {
		return func() error {
			_, err := calls[i](pattern[:callSize])
			return err
		}
	})
}

// heldBy measures the cost of one side of a connection that was used by a function and is idle.
// One connection exists before, so that shared resources do not count.
func heldBy(ctx context.Context, s settings, p *peer, use func(link) error) (values, error) {
	if p.name == minimalName || p.name == minimalCallsName {
		return nil, errNotOffered // the minimal programs have large buffers for the other rows
	}
	server, err := p.start(&service{answer: answers(callSize)})
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
		if err := use(l); err != nil {
			return nil, err
		}
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
