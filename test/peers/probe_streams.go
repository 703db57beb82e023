package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// bulk measures n streams of one link that are written size bytes at a time: the bytes
// per second of all streams, the share of the slowest to the fastest, and the processor
// time of both sides for each byte.
func bulk(n, size int) func(context.Context, settings, *peer) (values, error) {
	return func(ctx context.Context, s settings, p *peer) (values, error) {
		got := values{}
		err := with(s, p, &service{}, func(l link) error {
			f, err := startFlow(l, over(n, s.streams), size, s.slowRead)
			if err != nil {
				return err
			}
			pause(ctx, s.warm())
			before, cpu, start := f.snapshot(), cpuTime(), time.Now()
			pause(ctx, s.window)
			after, used, took := f.snapshot(), cpuTime()-cpu, time.Since(start)
			if err := f.end(l); err != nil {
				return err
			}
			slowest, fastest, total := spread(before, after)
			if s.slowRead > 0 {
				if len(after) < 2 { // the connection itself is the only stream
					return errNotOffered
				}
				slowest, fastest, _ = spread(before[1:], after[1:])
			}
			got["bytes"] = float64(total) / took.Seconds()
			got["writes"] = float64(total) / float64(size) / took.Seconds()
			got["even"] = float64(slowest) / float64(max(fastest, 1))
			got["cpu"] = used.Seconds() / float64(max(total, 1))
			return ctx.Err()
		})
		return got, err
	}
}

// spread compares the bytes that streams have moved between two snapshots.
func spread(before, after []int64) (slowest, fastest, total int64) {
	for i := range after {
		n := after[i] - before[i]
		if i == 0 || n < slowest {
			slowest = n
		}
		fastest = max(fastest, n)
		total += n
	}
	return slowest, fastest, total
}

// flow is streams that are written as fast as they are read.
type flow struct {
	moved   []counter
	stop    atomic.Bool
	failed  atomic.Pointer[error] // the first error before stop
	running sync.WaitGroup
}

// startFlow opens n streams of a link, verifies them and fills them. The reader of the first
// stream pauses for slowRead before each Read. A connection that is itself the only stream
// counts as n.
func startFlow(l link, n, size int, slowRead time.Duration) (*flow, error) {
	s, ok := l.(streaming)
	if !ok {
		return nil, errNotOffered
	}
	var writers, readers []io.ReadWriteCloser
	for i := range n {
		w, r, err := s.open()
		if i > 0 && errors.Is(err, errNotOffered) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := verifyStream(w, r, size); err != nil {
			return nil, err
		}
		writers, readers = append(writers, w), append(readers, r)
	}
	f := &flow{moved: make([]counter, len(writers))}
	for i := range writers {
		f.running.Go(func() { f.write(writers[i], pattern[:size]) })
		var r io.Reader = readers[i]
		if i == 0 && slowRead > 0 {
			r = slowReader{r, slowRead}
		}
		f.running.Go(func() { f.read(r, &f.moved[i]) })
	}
	return f, nil
}

// slowReader is a reader that pauses before each Read.
type slowReader struct {
	io.Reader
	pause time.Duration
}

func (r slowReader) Read(p []byte) (int, error) {
	time.Sleep(r.pause)
	return r.Reader.Read(p)
}

func (f *flow) write(w io.Writer, p []byte) {
	for !f.stop.Load() {
		if _, err := w.Write(p); err != nil {
			f.fail(err)
			return
		}
	}
}

func (f *flow) read(r io.Reader, moved *counter) {
	p := make([]byte, bulkWrite)
	for {
		n, err := r.Read(p)
		moved.Add(int64(n))
		if err != nil {
			f.fail(err)
			return
		}
	}
}

func (f *flow) fail(err error) {
	if !f.stop.Load() {
		f.failed.CompareAndSwap(nil, &err)
	}
}

// snapshot returns the number of bytes that each stream has moved so far.
func (f *flow) snapshot() []int64 {
	all := make([]int64, len(f.moved))
	for i := range all {
		all[i] = f.moved[i].Load()
	}
	return all
}

// end stops the streams and closes the link.
func (f *flow) end(l link) error {
	f.stop.Store(true)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		l.close()
	}()
	err := waitFor(&f.running)
	if err == nil {
		<-closed
	}
	if failed := f.failed.Load(); failed != nil {
		err = errors.Join(*failed, err)
	}
	return err
}

// touches measures streams per second that n openers open for one byte. A stream is done
// when the server has read the byte and the end, and has closed its side.
func touches(n int) func(context.Context, settings, *peer) (values, error) {
	return func(ctx context.Context, s settings, p *peer) (values, error) {
		got := values{}
		closed := make([]chan struct{}, over(n, s.callers))
		for i := range closed {
			closed[i] = make(chan struct{}, 1)
		}
		svc := &service{closed: func(b byte) { closed[b] <- struct{}{} }}
		err := with(s, p, svc, func(l link) error {
			t, ok := l.(touching)
			if !ok {
				return errNotOffered
			}
			var err error
			got, err = pace(ctx, s, len(closed), func(i int) func() error {
				return func() error {
					settle, err := t.touch(byte(i))
					if err != nil {
						return err
					}
					<-closed[i]
					if settle != nil {
						return settle()
					}
					return nil
				}
			})
			return err
		})
		return got, err
	}
}

// mixed measures the time of a call while streams fill the same connection in the same
// direction, and the bytes that the streams move.
func mixed(ctx context.Context, s settings, p *peer) (values, error) {
	got := values{}
	answer := answers(callSize)
	err := with(s, p, &service{answer: answer}, func(l link) error {
		if _, ok := l.(streaming); !ok {
			return errNotOffered
		}
		var one []call
		if p.role != reference { // a raw connection cannot make calls while it moves bytes
			var err error
			if one, err = callers(l, 1); err != nil {
				return err
			}
		}
		if err := verifyCalls(one, answer); err != nil {
			return err
		}
		f, err := startFlow(l, s.streams, bulkWrite, 0)
		if err != nil {
			return err
		}
		pause(ctx, s.warm())
		before, start := f.snapshot(), time.Now()
		var took []time.Duration
		if len(one) > 0 {
			took, err = timed(ctx, s.window, one[0])
		} else {
			pause(ctx, s.window)
		}
		after, elapsed := f.snapshot(), time.Since(start)
		if err := errors.Join(err, f.end(l)); err != nil {
			return err
		}
		_, _, total := spread(before, after)
		got["bytes"] = float64(total) / elapsed.Seconds()
		if len(took) > 0 {
			got["p50"] = quantile(took, 0.50).Seconds()
			got["p99"] = quantile(took, 0.99).Seconds()
		}
		return ctx.Err()
	})
	return got, err
}

// timed makes calls for a while and returns the time of each.
func timed(ctx context.Context, window time.Duration, c call) ([]time.Duration, error) {
	var took []time.Duration
	for start := time.Now(); len(took) == 0 || time.Since(start) < window; {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		begun := time.Now()
		if _, err := c(pattern[:callSize]); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}
