package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio/test/kit"
)

// The sizes of payloads.
const (
	callSize    = 256
	bigAnswer   = 4 << 10
	messageSize = 128
	bulkWrite   = 128 << 10
	smallWrite  = 64
)

// settings are the amounts of the measurement.
type settings struct {
	window  time.Duration // of each measurement
	callers int           // for probes with many callers, publishers or openers
	streams int           // for probes with many streams
	idle    int           // idle connections
	clients int           // connections that call at the same time
	parked  int           // idle streams
	settle  time.Duration // the wait until everything is idle
	counted int           // operations whose allocations are counted
	// security has the configurations of TLS; nil for connections without TLS.
	security *security
	link     *kit.Link     // that connections have; nil: the loopback interface, unless there is a wire
	wire     *wire         // that connections have; nil: none
	shorter  int           // divides the round trips of paths; 0 takes 1
	budget   int           // the MemoryBudget of geminio; 0: the default
	slowRead time.Duration // the pause before each Read of the first stream, which then does not count as fast or slow; 0: none
	ahead    time.Duration // the time before the measurement; 0: a quarter of it
}

// standard has the amounts that the rows state.
func standard(window time.Duration) settings {
	return settings{
		window: window, callers: 64, streams: 8,
		idle: 100, clients: 4000, parked: 1000, settle: 1500 * time.Millisecond, counted: 2000,
	}
}

// warm is how long work runs before it is measured.
func (s settings) warm() time.Duration {
	if s.ahead > 0 {
		return s.ahead
	}
	return s.window / 4
}

// values are the results of a probe, by the name of the metric.
type values map[string]float64

// probe is one measurement.
type probe struct {
	name string
	most int // how many rounds there are at most; 0: no bound
	run  func(context.Context, settings, *peer) (values, error)
}

// probes returns all probes, in the order in which they run.
func probes() []probe {
	return append([]probe{
		{name: "call", run: calls(1, callSize)},
		{name: "call" + onOneSuffix, run: onOne(calls(1, callSize))},
		{name: "calls", run: calls(0, callSize)},
		{name: "calls4k", run: calls(0, bigAnswer)},
		{name: "message", run: messages(1)},
		{name: "message" + onOneSuffix, run: onOne(messages(1))},
		{name: "messages", run: messages(0)},
		{name: "bulk", run: bulk(1, bulkWrite)},
		{name: "bulk8", run: bulk(0, bulkWrite)},
		{name: "small", run: bulk(1, smallWrite)},
		{name: "open", run: touches(1)},
		{name: "open" + onOneSuffix, run: onOne(touches(1))},
		{name: "open64", run: touches(0)},
		{name: "mixed", run: mixed},
		{name: "connect", run: connections},
		{name: "clients", most: 2, run: clients},
		{name: "idle", run: idleEnds},
		{name: "used", run: usedEnds},
		{name: "parked", run: idleStreams},
		{name: "allocs", run: allocations},
		{name: "call" + tlsSuffix, run: overTLS(calls(1, callSize))},
		{name: "calls" + tlsSuffix, run: overTLS(calls(0, callSize))},
		{name: "calls4k" + tlsSuffix, run: overTLS(calls(0, bigAnswer))},
		{name: "messages" + tlsSuffix, run: overTLS(messages(0))},
		{name: "bulk" + tlsSuffix, run: overTLS(bulk(1, bulkWrite))},
		{name: "bulk8" + tlsSuffix, run: overTLS(bulk(0, bulkWrite))},
		{name: "mixed" + tlsSuffix, run: overTLS(mixed)},
	}, pathProbes()...)
}

// onOneSuffix ends the name of a probe that runs another probe on one processor.
const onOneSuffix = " on one"

// onOne returns a probe that calls run with one processor.
func onOne(run func(context.Context, settings, *peer) (values, error)) func(context.Context, settings, *peer) (values, error) {
	return func(ctx context.Context, s settings, p *peer) (values, error) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		return run(ctx, s, p)
	}
}

// over returns n, or the number of the settings if n is 0.
func over(n, many int) int {
	if n == 0 {
		return many
	}
	return n
}

// with runs f on a new link of a peer.
func with(s settings, p *peer, svc *service, f func(link) error) error {
	runtime.GC() // collects the garbage of the previous peer
	svc.security, svc.link, svc.wire, svc.budget = s.security, s.link, s.wire, s.budget
	srv, err := p.start(svc)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	l, err := srv.dial()
	if err != nil {
		return errors.Join(fmt.Errorf("dial: %w", err), srv.close())
	}
	err = f(l)
	l.close() // operations may be under way, so close may return an error
	srv.close()
	return err
}

// calls measures calls per second with n callers, or with the number of callers of the
// settings.
func calls(n, answerSize int) func(context.Context, settings, *peer) (values, error) {
	return func(ctx context.Context, s settings, p *peer) (values, error) {
		got := values{}
		answer := answers(answerSize)
		err := with(s, p, &service{answer: answer}, func(l link) error {
			all, err := callers(l, over(n, s.callers))
			if err != nil {
				return err
			}
			if err := verifyCalls(all, answer); err != nil {
				return err
			}
			got, err = pace(ctx, s, len(all), func(i int) func() error {
				c, request := all[i], pattern[:callSize]
				return func() error {
					a, err := c(request)
					if err == nil && len(a) != answerSize {
						err = errUnexpected
					}
					return err
				}
			})
			return err
		})
		return got, err
	}
}

// callers makes n callers of a link.
func callers(l link, n int) ([]call, error) {
	c, ok := l.(calling)
	if !ok {
		return nil, errNotOffered
	}
	all := make([]call, n)
	for i := range all {
		var err error
		if all[i], err = c.caller(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// messages measures acknowledged messages per second.
func messages(n int) func(context.Context, settings, *peer) (values, error) {
	return func(ctx context.Context, s settings, p *peer) (values, error) {
		got := values{}
		var r receiver
		err := with(s, p, &service{message: r.receive}, func(l link) error {
			all, err := publishers(l, over(n, s.callers))
			if err != nil {
				return err
			}
			if err := r.verify(l, all); err != nil {
				return err
			}
			got, err = pace(ctx, s, len(all), func(i int) func() error {
				data := pattern[:messageSize]
				return func() error { return all[i](data) }
			})
			return err
		})
		return got, err
	}
}

// publishers makes n publishers of a link.
func publishers(l link, n int) ([]publish, error) {
	p, ok := l.(publishing)
	if !ok {
		return nil, errNotOffered
	}
	all := make([]publish, n)
	for i := range all {
		var err error
		if all[i], err = p.publisher(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// counter is a count in a cache line of its own.
type counter struct {
	atomic.Int64
	_ [56]byte
}

// sum adds up counters.
func sum(all []counter) (n int64) {
	for i := range all {
		n += all[i].Load()
	}
	return n
}

// stuck is the time after which an operation counts as one that never returns.
const stuck = 20 * time.Second

// pace lets n goroutines repeat their operation, and returns the number of operations per
// second of all goroutines within the window, and the processor time and the number of system
// calls that read or write of an operation.
func pace(ctx context.Context, s settings, n int, operation func(i int) func() error) (values, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make([]counter, n)
	var stop atomic.Bool
	var running sync.WaitGroup
	for i := range n {
		op, count := operation(i), &done[i]
		running.Go(func() {
			for !stop.Load() {
				if err := op(); err != nil {
					cancel(err)
					return
				}
				count.Add(1)
			}
		})
	}
	pause(ctx, s.warm())
	start, cpu, calls, before := time.Now(), cpuTime(), systemCalls(), sum(done)
	pause(ctx, s.window)
	took, used, called, did := time.Since(start), cpuTime()-cpu, systemCalls()-calls, sum(done)-before
	stop.Store(true)
	if err := waitFor(&running); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	each := float64(max(did, 1))
	return values{
		"rate":        float64(did) / took.Seconds(),
		"cpu":         used.Seconds() / each,
		"systemcalls": called / each,
	}, nil
}

// waitFor waits until no operation runs any more, except those that are stuck.
func waitFor(running *sync.WaitGroup) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		running.Wait()
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(stuck):
		return fmt.Errorf("an operation has not returned for %v", stuck)
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// quantile returns the q-quantile of a list, which must not be empty and which it sorts.
func quantile(all []time.Duration, q float64) time.Duration {
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}
