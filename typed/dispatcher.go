package typed

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/metadata"
)

const (
	defaultConcurrency = 16
	defaultBacklog     = 1024
)

// Dispatcher receives messages, and calls the handler of each topic. [Topic.Subscribe] sets the
// handlers. The zero value has none and is ready for use. A Dispatcher may receive from any number
// of Ends and streams at the same time. Its methods are safe for concurrent use. Its fields must
// not be changed after the first call of Run.
type Dispatcher struct {
	// Concurrency bounds the handlers that run at the same time for the messages of one Run. The
	// default, and 0, is 16.
	Concurrency int
	// Backlog bounds the messages of one Run that were received and are not answered. When it is
	// reached, Run receives no more, and publishers wait. So one slow topic delays other topics
	// only when its messages fill the backlog. The default, and 0, is 1024.
	Backlog int
	// Logger gets the panics of handlers, with their stacks. Nil means none.
	Logger *slog.Logger
	// Other is called for messages of topics without a handler, in the order of each topic. Its
	// error answers the message as that of a handler. By default, the publisher gets an error
	// with geminio.CodeNoMethod.
	Other func(context.Context, geminio.Message) error

	mu            sync.RWMutex
	subscriptions map[string]*subscription
}

// subscription is the handler of a topic.
type subscription struct {
	unordered bool
	// prepare returns the key of a message, and the function that handles it.
	prepare func(geminio.Message) (key string, t task)
}

// task handles a message. Its error answers the message.
type task func(context.Context) error

func (d *Dispatcher) subscribe(topic string, s *subscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s == nil {
		delete(d.subscriptions, topic)
		return
	}
	if d.subscriptions == nil {
		d.subscriptions = make(map[string]*subscription)
	}
	d.subscriptions[topic] = s
}

// find returns the handler of a topic.
func (d *Dispatcher) find(topic string) *subscription {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if s := d.subscriptions[topic]; s != nil {
		return s
	}
	return &subscription{prepare: func(m geminio.Message) (string, task) {
		return "", func(ctx context.Context) error { return d.other(ctx, m) }
	}}
}

func (d *Dispatcher) other(ctx context.Context, m geminio.Message) error {
	if d.Other == nil {
		return &methodError{geminio.CodeNoMethod, fmt.Sprintf("no handler for topic %q", m.Topic())}
	}
	return d.Other(ctx, m)
}

// Run receives the messages of an End or stream, and no other goroutine should do that. It calls
// the handlers in goroutines of their own, and answers each message with the error of its handler.
// The context of a handler is derived from ctx; geminio.StreamFrom and geminio.EndFrom return the
// stream and End of the message, and metadata.FromIncomingContext its metadata. If the message is that
// of a ReceiveMiddleware and has a method Context(context.Context) context.Context, the handler gets
// the result. A handler that panics answers with geminio.CodePanic.
//
// Run returns when Receive fails, after all handlers have returned. It returns io.EOF after the end
// of the stream or End; the messages that had arrived are handled. It returns ctx.Err() when ctx
// ends; then it answers the messages that wait for a handler with that error.
func (d *Dispatcher) Run(ctx context.Context, peer geminio.Messager) error {
	r := &run{
		d: d, ctx: ctx, log: d.Logger, lanes: make(map[laneKey]*lane),
		slots: make(chan struct{}, positive(d.Concurrency, defaultConcurrency)),
		room:  make(chan struct{}, positive(d.Backlog, defaultBacklog)),
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	defer r.wg.Wait()
	for {
		m, err := peer.Receive(ctx)
		if err != nil {
			return err
		}
		r.take(m)
	}
}

// positive returns n, or otherwise if n is not positive.
func positive(n, otherwise int) int { return cmp.Or(max(n, 0), otherwise) }

// run is one call of Run. Its methods, except for those of the workers, belong to the goroutine of
// Run.
type run struct {
	d     *Dispatcher
	ctx   context.Context
	log   *slog.Logger
	slots chan struct{} // holds one for each worker
	room  chan struct{} // holds one for each message without an answer
	wg    sync.WaitGroup

	mu    sync.Mutex
	lanes map[laneKey]*lane // those with a worker
}

// laneKey names the messages that are handled in order.
type laneKey struct{ topic, key string }

// lane has the messages of a key that wait. A worker handles them one after the other.
type lane struct {
	waiting []job // guarded by run.mu
}

// job is a message with its task.
type job struct {
	m geminio.Message
	t task
}

// take gives a message to a worker.
func (r *run) take(m geminio.Message) {
	if !r.acquire(r.room) {
		r.answer(m, r.ctx.Err())
		return
	}
	s := r.d.find(m.Topic())
	var j job
	var k laneKey
	var failed error
	goes := false
	defer func() {
		if !goes { // the function Key has ended the goroutine of Run
			r.finish(m, failed)
		}
	}()
	guard.Run(r.log, "the key of a message", func() { k.key, j.t = s.prepare(m) }, func(err error) { failed = err })
	goes = true
	if failed != nil {
		j.t = func(context.Context) error { return failed }
	}
	j.m, k.topic = m, m.Topic()
	if !s.unordered && r.append(k, j) {
		return
	}
	if !r.acquire(r.slots) {
		r.finish(m, r.ctx.Err())
		return
	}
	l := &lane{waiting: []job{j}}
	if !s.unordered {
		r.mu.Lock()
		r.lanes[k] = l
		r.mu.Unlock()
	}
	r.wg.Go(func() { r.work(k, l) })
}

// append adds a job to a lane that has a worker. It reports whether there is one.
func (r *run) append(k laneKey, j job) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[k]
	if l == nil {
		return false
	}
	l.waiting = append(l.waiting, j)
	return true
}

// acquire waits for room in a channel. It returns false if ctx ends first.
func (r *run) acquire(ch chan struct{}) bool {
	select {
	case ch <- struct{}{}:
		return true
	case <-r.ctx.Done():
		return false
	}
}

// work handles the messages of a lane until none waits. If a handler ends its goroutine, another
// worker takes over.
func (r *run) work(k laneKey, l *lane) {
	done := false
	defer func() {
		if !done {
			r.wg.Go(func() { r.work(k, l) })
			return
		}
		<-r.slots
	}()
	for {
		r.mu.Lock()
		if len(l.waiting) == 0 {
			if r.lanes[k] == l {
				delete(r.lanes, k)
			}
			r.mu.Unlock()
			done = true
			return
		}
		j := l.waiting[0]
		l.waiting = l.waiting[1:]
		r.mu.Unlock()
		r.handle(j)
	}
}

// handle handles a message, and answers it.
func (r *run) handle(j job) {
	err := r.ctx.Err()
	if err != nil {
		r.finish(j.m, err)
		return
	}
	guard.Run(r.log, "the handler of a message", func() { err = j.t(r.context(j.m)) }, func(failed error) {
		if failed != nil {
			err = failed
		}
		r.finish(j.m, err)
	})
}

// context returns the context of the handler of a message.
func (r *run) context(m geminio.Message) context.Context {
	ctx := r.ctx
	if s, ok := geminio.StreamOf(m); ok {
		ctx = geminio.WithStream(ctx, s)
	}
	if md := metadata.From(m); len(md) > 0 {
		ctx = metadata.NewIncomingContext(ctx, md)
	}
	if c, ok := m.(interface {
		Context(context.Context) context.Context
	}); ok {
		ctx = c.Context(ctx)
	}
	return ctx
}

// finish answers a message that has room.
func (r *run) finish(m geminio.Message, err error) {
	defer func() { <-r.room }() // also if the answer ends the goroutine
	r.answer(m, err)
}

// answer answers a message. The message may be that of a ReceiveMiddleware, with methods of the user.
func (r *run) answer(m geminio.Message, err error) {
	guard.Run(r.log, "the answer of a message", func() {
		if err == nil {
			err = m.Done()
		} else {
			err = m.Error(err)
		}
	}, func(failed error) {
		if failed != nil { // and logged
			err = nil
		}
	})
	if err != nil && err != io.EOF && err != geminio.ErrAnswered { // Other may have answered it
		r.log.Warn("a message was not answered", "topic", m.Topic(), "error", err)
	}
}
