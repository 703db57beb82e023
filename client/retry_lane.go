package client

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
)

// lane has the asynchronous operations of one kind that wait for a connection. When
// there is one, they are begun in their order, by a goroutine that lives as long as
// there are any. Its methods are safe for concurrent use.
type lane struct {
	r *RetryEnd

	mu      sync.Mutex
	parked  jobs
	running bool // they are being begun
	over    bool
	changed chan struct{} // closed when fewer are; nil if nobody waits for that
}

// job is an operation of a lane. Until it has its outcome it is either parked or
// under way on some connection.
type job struct {
	lane   *lane
	order  uint64
	size   int // bytes of its request or message
	ctx    context.Context
	until  time.Time // zero: no limit
	repeat bool      // it may be carried out twice
	// begin begins it on a connection. If it returns an error, done is not called.
	begin func(l *link, timeout time.Duration, done func(geminio.Response, error)) error
	// done is told the outcome, once, and must not block.
	done func(geminio.Response, error)

	// Guarded by lane.mu.
	index   int  // in lane.parked; -1: it is not there
	sent    bool // the peer may have acted on it
	timer   *time.Timer
	unwatch func() bool
}

// turn returns the connection on which something may begin at once, or nil if it is
// to be parked because there is none. Where there is one, what is parked goes first:
// turn waits for that, as for the credit that it waits for itself, at most until ctx
// ends or until, if it is not zero, comes.
func (v *lane) turn(ctx context.Context, until time.Time) (*link, error) {
	var late <-chan time.Time
	for {
		l := v.r.working()
		if l == nil {
			return nil, nil
		}
		v.mu.Lock()
		idle := len(v.parked) == 0 && !v.running
		if !idle && v.changed == nil {
			v.changed = make(chan struct{})
		}
		changed := v.changed
		v.mu.Unlock()
		if idle {
			return l, nil
		}
		if late == nil && !until.IsZero() {
			timer := time.NewTimer(time.Until(until))
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-changed:
		case <-l.e.Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late:
			return nil, context.DeadlineExceeded
		}
	}
}

// fewer wakes who waits for his turn. v.mu is held.
func (v *lane) fewer() {
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
}

// start begins a job, when it is its turn, if there is a connection; else it lets it
// wait for one. An error means that it was not begun, nor will be.
func (v *lane) start(j *job) error {
	l, err := v.turn(j.ctx, j.until)
	if err != nil {
		return err
	}
	if l == nil {
		return v.park(j, false, false)
	}
	err = j.attempt(l)
	if !v.r.again(l, err, j.repeat) {
		return err
	}
	return v.park(j, true, maybe(err))
}

// attempt begins j on l, within what is left of its time. The methods of a request or
// message of the user's own type may panic.
func (j *job) attempt(l *link) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = guard.Panicked(j.lane.r.log, "a method of a Request or Message", v)
		}
	}()
	timeout, err := left(j.until)
	if err != nil {
		return err
	}
	return j.begin(l, timeout, func(resp geminio.Response, err error) { j.ended(l, resp, err) })
}

// park lets a job wait, which was under way already, or was not, and on which the
// peer may have acted. An error means that it does not wait.
func (v *lane) park(j *job, underWay, sent bool) error {
	if err := v.r.wait(j.size, underWay); err != nil {
		return err
	}
	v.mu.Lock()
	j.sent = j.sent || sent
	if v.over {
		sent := j.sent
		v.mu.Unlock()
		v.r.waited(j.size)
		return v.r.interrupted(sent)
	}
	heap.Push(&v.parked, j)
	if !j.until.IsZero() {
		j.timer = time.AfterFunc(time.Until(j.until), func() { v.giveUp(j, context.DeadlineExceeded) })
	}
	if j.ctx.Done() != nil {
		j.unwatch = context.AfterFunc(j.ctx, func() { v.giveUp(j, j.ctx.Err()) })
	}
	v.mu.Unlock()
	v.kick()
	return nil
}

// disarm is called when a job leaves. v.mu is held.
func (j *job) disarm() {
	if j.timer != nil {
		j.timer.Stop()
		j.timer = nil
	}
	if j.unwatch != nil {
		j.unwatch()
		j.unwatch = nil
	}
}

// giveUp ends a job that waits.
func (v *lane) giveUp(j *job, err error) {
	v.mu.Lock()
	waits := j.index >= 0
	if waits {
		heap.Remove(&v.parked, j.index)
		j.disarm()
		v.fewer()
	}
	v.mu.Unlock()
	if waits {
		v.r.waited(j.size)
		j.done(nil, err)
	}
}

// kick sees to it that what waits is begun, if there is a connection.
func (v *lane) kick() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.parked) > 0 && !v.running && v.r.working() != nil {
		v.running = true
		go v.run()
	}
}

// run begins what waits, as long as there is a connection.
func (v *lane) run() {
	for {
		v.mu.Lock()
		l := v.r.working()
		if l == nil || len(v.parked) == 0 {
			v.running = false
			v.fewer()
			v.mu.Unlock()
			return
		}
		j := heap.Pop(&v.parked).(*job)
		j.disarm()
		v.mu.Unlock()

		if err := j.attempt(l); err != nil {
			j.ended(l, nil, err)
		}
		v.r.waited(j.size) // not sooner: Shutdown waits until it is under way
	}
}

// ended takes the outcome of an attempt.
func (j *job) ended(l *link, resp geminio.Response, err error) {
	v := j.lane
	if v.r.again(l, err, j.repeat) {
		err = v.park(j, true, maybe(err))
		if err == nil {
			return
		}
		resp = nil
	}
	v.mu.Lock()
	sent := j.sent
	v.mu.Unlock()
	j.done(resp, v.r.atEnd(err, sent))
}

// end ends all that waits.
func (v *lane) end() {
	v.mu.Lock()
	v.over = true
	all := v.parked
	v.parked = nil
	for _, j := range all {
		j.index = -1
		j.disarm()
	}
	v.fewer()
	v.mu.Unlock()
	for _, j := range all {
		v.r.waited(j.size)
		j.done(nil, v.r.interrupted(j.sent))
	}
}

// jobs is a heap of jobs by their order.
type jobs []*job

func (h jobs) Len() int           { return len(h) }
func (h jobs) Less(i, j int) bool { return h[i].order < h[j].order }
func (h jobs) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *jobs) Push(x any) {
	j := x.(*job)
	j.index = len(*h)
	*h = append(*h, j)
}

func (h *jobs) Pop() any {
	last := len(*h) - 1
	j := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	j.index = -1
	return j
}
