package tunnel

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Leg is one of the two connections that are joined. One goroutine reads it and
// one writes; the other methods may be called by any.
type Leg interface {
	// Connected is called once the Leg is about to be joined with another one.
	Connected() error
	// Read returns io.EOF only if the other side has ended its direction in an orderly way, and
	// all bytes have arrived. After any other error bytes may be missing.
	io.Reader
	io.Writer
	// CloseWrite ends this side's direction in an orderly way.
	CloseWrite() error
	// Close closes a connection whose directions have both ended in an orderly way.
	Close() error
	// Abort breaks the connection: the other side gets an error.
	Abort(why error)
	// Broken is closed when the connection has broken, and Err then returns the reason. Broken is
	// nil if only Read and Write report a break.
	Broken() <-chan struct{}
	Err() error
}

// Traffic counts bytes. Its zero value is ready, and it may be used by many Joins.
type Traffic struct {
	Forth atomic.Int64 // from the first Leg to the second
	Back  atomic.Int64 // from the second Leg to the first
}

// drain bounds the time in which Join passes on the bytes that arrived before a break.
const drain = 3 * time.Second

// BrokenError is the error of Join for a Leg that has broken.
type BrokenError struct {
	First bool // it was the first Leg
	Err   error
}

func (e *BrokenError) Error() string { return e.Err.Error() }
func (e *BrokenError) Unwrap() error { return e.Err }

// Join copies between a and b in both directions until both have ended, and closes
// them. If one of them breaks, Join passes on the bytes that arrived from it before, breaks the
// other Leg too, and returns a *BrokenError. When ctx ends, Join breaks both at once and returns
// the cause of ctx.
func Join(ctx context.Context, a, b Leg, t *Traffic) error {
	j := &join{
		legs: [2]Leg{a, b}, broken: [2]<-chan struct{}{a.Broken(), b.Broken()},
		counts: [2]*atomic.Int64{&t.Forth, &t.Back},
	}
	for i := range j.from {
		from := make(chan outcome, 1)
		j.from[i] = from
		go func() { from <- j.pump(i) }()
	}
	return j.run(ctx)
}

// join is a Join under way. The goroutine of run owns it; those of pump read legs and counts.
type join struct {
	legs    [2]Leg
	counts  [2]*atomic.Int64  // the bytes that come from each leg
	from    [2]<-chan outcome // the end of the direction that comes from a leg; nil after its receipt
	broken  [2]<-chan struct{}
	dead    [2]bool          // the leg has broken
	late    <-chan time.Time // receives when the time of drain is over
	err     error            // the first reason
	aborted bool
}

// outcome is the end of one direction. Without an error the end was orderly.
type outcome struct {
	leg int // the leg that broke
	err error
}

func (j *join) run(ctx context.Context) error {
	interrupt := ctx.Done()
	for j.from[0] != nil || j.from[1] != nil {
		select {
		case o := <-j.from[0]:
			j.from[0] = nil
			j.note(o)
		case o := <-j.from[1]:
			j.from[1] = nil
			j.note(o)
		case <-j.broken[0]:
			j.note(outcome{0, j.legs[0].Err()})
		case <-j.broken[1]:
			j.note(outcome{1, j.legs[1].Err()})
		case <-j.late:
			j.abort(nil)
		case <-interrupt:
			interrupt = nil
			j.abort(context.Cause(ctx))
		}
		for i, dead := range j.dead {
			if dead && j.from[i] == nil {
				j.abort(nil)
			}
		}
	}
	if j.err != nil {
		return j.err
	}
	j.legs[0].Close()
	j.legs[1].Close()
	return nil
}

// note records the end of a direction, or the break of a leg.
func (j *join) note(o outcome) {
	if o.err == nil {
		return
	}
	if j.err == nil {
		j.err = &BrokenError{First: o.leg == 0, Err: o.err}
	}
	j.dead[o.leg], j.broken[o.leg] = true, nil
	if j.late == nil {
		j.late = time.After(drain)
	}
}

// abort breaks both legs, which ends the directions.
func (j *join) abort(why error) {
	if j.err == nil {
		j.err = why
	}
	if !j.aborted {
		j.aborted = true
		j.legs[0].Abort(j.err)
		j.legs[1].Abort(j.err)
	}
}

// buffers are the buffers of pump.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// pump copies the bytes that come from a leg to the other one.
func (j *join) pump(i int) outcome {
	src, dst, other := j.legs[i], j.legs[1-i], 1-i
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			j.counts[i].Add(int64(n))
			if _, err := dst.Write(buf[:n]); err != nil {
				return outcome{other, fmt.Errorf("write: %w", err)}
			}
		}
		switch {
		case err == io.EOF:
			if err := dst.CloseWrite(); err != nil {
				return outcome{other, fmt.Errorf("close: %w", err)}
			}
			return outcome{}
		case err != nil:
			return outcome{i, fmt.Errorf("read: %w", err)}
		}
	}
}
