package client

// This file has the messages of a RetryEnd. A message is sent until it is answered.

import (
	"context"
	"io"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/options"
)

// NewMessage makes a message, which stays valid after a reconnect. It is delivered at
// least once unless an option says otherwise. The data is not copied: it must not change
// until Publish has returned.
func (r *RetryEnd) NewMessage(data []byte, opts ...*options.NewMessageOptions) geminio.Message {
	return application.NewMessage(r.opt.PacketFactory.NewPacketID(), r.ClientID(), multiplexer.DefaultID, data, opts)
}

// Publish sends a message and returns when its receiver has called Done (nil) or Error
// (a *geminio.RemoteError with its text), or when ctx or a timeout ends. If the
// connection is lost meanwhile, the message is sent again on the next one. A message that
// is delivered at most once is sent when there is a connection, and Publish does not wait
// for an answer.
func (r *RetryEnd) Publish(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error {
	switch {
	case ctx == nil:
		return nilarg.New("publish", "context")
	case msg == nil:
		return nilarg.New("publish", "message")
	}
	if i := r.interceptors; i != nil && len(i.PublishMiddleware) > 0 {
		return r.chains.Publish(ctx, msg, opts...)
	}
	return r.plainPublish(ctx, msg, opts...)
}

// plainPublish is Publish without middleware.
func (r *RetryEnd) plainPublish(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error {
	if err := r.check(msg.ClientID(), msg.StreamID()); err != nil {
		return err
	}
	if !r.observer.Messages() {
		return r.doPublish(ctx, msg, opts)
	}
	return r.observer.Publish(ctx, r, r, msg, func() error { return r.doPublish(ctx, msg, opts) })
}

// doPublish is plainPublish without the checks of the arguments.
func (r *RetryEnd) doPublish(ctx context.Context, msg geminio.Message, opts []*options.PublishOptions) error {
	if err := r.beginOperation(); err != nil {
		return err
	}
	defer r.endOperation()
	r.messageCounts.begun.Add(1)
	defer r.messageCounts.ended.Add(1)
	d := r.delivery(ctx, msg, opts)
	op := d.operation
	l, err := r.outbox.waitTurn(&op)
	if err != nil {
		return err
	}
	if l != nil {
		timeout, err := op.startAttempt()
		if err == nil {
			err = l.control().DoPublish(ctx, d.number, msg, timeout)
		}
		if !r.shouldRetry(&op, l, err) {
			return r.finish(&op, err)
		}
	}
	// From here on the message waits in the queue of PublishAsync, so that all
	// messages keep their order.
	d.operation = op
	outcome := make(chan error, 1)
	if err := r.outbox.push(d.job(r, func(err error) { outcome <- err })); err != nil {
		return err
	}
	return <-outcome
}

// PublishAsync is Publish without the wait. The returned Publish is sent to ch, with its
// Error, when it has ended. PublishAsync waits only for the credit that the message needs.
func (r *RetryEnd) PublishAsync(ctx context.Context, msg geminio.Message, ch chan *geminio.Publish, opts ...*options.PublishOptions) (*geminio.Publish, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("publish async", "context")
	case msg == nil:
		return nil, nilarg.New("publish async", "message")
	}
	if ch == nil {
		ch = make(chan *geminio.Publish, 1)
	}
	p := &geminio.Publish{Message: msg, Done: ch}
	done := func(err error) {
		p.Error = err
		application.Hand(r.log, r.done, ch, p)
	}
	var err error
	if i := r.interceptors; i != nil && len(i.PublishMiddleware) > 0 {
		err = r.chains.StartPublish(ctx, msg, opts, done)
	} else {
		err = r.plainStartPublish(ctx, msg, opts, done)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// plainStartPublish is plainPublish without the wait. It calls done with the outcome, unless it
// returns an error.
func (r *RetryEnd) plainStartPublish(ctx context.Context, msg geminio.Message, opts []*options.PublishOptions, done func(error)) error {
	if err := r.check(msg.ClientID(), msg.StreamID()); err != nil {
		return err
	}
	start := func(done func(error)) error { return r.startPublish(ctx, msg, opts, done) }
	if r.observer.Messages() {
		return r.observer.StartPublish(ctx, r, r, msg, start, done)
	}
	return start(done)
}

// startPublish is plainStartPublish without the checks of the arguments.
func (r *RetryEnd) startPublish(ctx context.Context, msg geminio.Message, opts []*options.PublishOptions, done func(error)) error {
	if err := r.beginOperation(); err != nil {
		return err
	}
	r.messageCounts.begun.Add(1)
	err := r.outbox.start(r.delivery(ctx, msg, opts).job(r, func(err error) {
		r.messageCounts.ended.Add(1)
		done(err)
		r.endOperation()
	}))
	if err != nil {
		r.messageCounts.ended.Add(1)
		r.endOperation()
	}
	return err
}

// delivery is a message that is sent until it is answered.
type delivery struct {
	operation
	msg    geminio.Message
	order  uint64 // its place among the deliveries of the RetryEnd
	number uint64 // the same each time it is sent; 0: at most once
}

func (r *RetryEnd) delivery(ctx context.Context, msg geminio.Message, opts []*options.PublishOptions) delivery {
	d := delivery{
		operation: operation{
			ctx: ctx, deadline: deadlineAfter(application.PublishTimeout(msg, opts)),
			size: len(msg.Data()) + len(msg.Custom()) + metadataSize(ctx), repeatable: msg.Cnss() != options.CnssAtMostOnce,
		},
		msg: msg, order: r.deliveries.Add(1),
	}
	if d.repeatable {
		d.number = application.DeliveryBit | d.order
	}
	return d
}

// job makes a job of the outbox from d. It calls done with the outcome.
func (d delivery) job(r *RetryEnd, done func(error)) *job {
	return &job{
		operation: d.operation, queue: &r.outbox, order: d.order,
		begin: func(l *link, timeout time.Duration, done func(geminio.Response, error)) error {
			return l.control().StartPublish(d.ctx, d.number, d.msg, timeout, func(err error) { done(nil, err) })
		},
		done: func(_ geminio.Response, err error) { done(err) },
	}
}

// Receive returns the next message of the server, over all connections. The caller
// answers it with Done or Error. If ctx ends earlier, Receive returns an error that matches
// ctx's, and without a connection also the last failure of dialling or shaking hands. After
// the end of the RetryEnd it returns io.EOF.
func (r *RetryEnd) Receive(ctx context.Context) (geminio.Message, error) {
	if ctx == nil {
		return nil, nilarg.New("receive", "context")
	}
	if i := r.interceptors; i != nil && len(i.ReceiveMiddleware) > 0 {
		return r.chains.Receive(ctx)
	}
	return r.receive(ctx)
}

// receive is Receive without middleware.
func (r *RetryEnd) receive(ctx context.Context) (geminio.Message, error) {
	for {
		l, connChanged := r.position(&r.receiving)
		if l == nil {
			if r.ended() { // also if the context has ended
				return nil, io.EOF
			}
			select {
			case <-connChanged:
				continue
			case <-ctx.Done():
				return nil, r.withFailure(ctx.Err())
			case <-r.done:
				return nil, io.EOF
			}
		}
		m, err := l.control().Receive(ctx)
		if err != io.EOF {
			return m, err
		}
		r.advance(&r.receiving, l)
	}
}
