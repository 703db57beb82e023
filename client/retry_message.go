package client

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

// NewMessage makes a message, to be delivered at least once unless an option says
// otherwise, which is good also after a reconnect. The data is not copied: it must
// not change until Publish has returned.
func (r *RetryEnd) NewMessage(data []byte, opts ...*options.NewMessageOptions) geminio.Message {
	return application.NewMessage(r.opt.PacketFactory.NewPacketID(), r.ClientID(), multiplexer.DefaultID, data, opts)
}

// Publish sends a message and returns when its receiver has said Done (nil) or Error
// (a *geminio.RemoteError with its text), or when ctx or a timeout ends. If the
// connection is lost meanwhile the message is sent again on the next. A message to
// be delivered at most once is only sent, once there is a connection.
func (r *RetryEnd) Publish(ctx context.Context, msg geminio.Message, opts ...*options.PublishOptions) error {
	switch {
	case ctx == nil:
		return nilarg.New("publish", "context")
	case msg == nil:
		return nilarg.New("publish", "message")
	}
	if err := r.check(msg.ClientID(), msg.StreamID()); err != nil {
		return err
	}
	if err := r.admit(); err != nil {
		return err
	}
	d := r.delivery(ctx, msg, opts)
	l, err := r.outbox.turn(ctx, d.until)
	if err != nil {
		return err
	}
	underWay, sent := false, false
	if l != nil {
		timeout, err := left(d.until)
		if err == nil {
			err = l.control().DoPublish(ctx, d.number, msg, timeout)
		}
		if !r.again(l, err, d.number != 0) {
			return err
		}
		underWay, sent = true, maybe(err)
	}
	outcome := make(chan error, 1)
	if err := r.outbox.park(d.job(r, func(err error) { outcome <- err }), underWay, sent); err != nil {
		return err
	}
	return <-outcome
}

// PublishAsync is Publish without the wait: the returned Publish, with its Error, is
// sent to ch when it is over. It waits for nothing but the credit that the message
// needs.
func (r *RetryEnd) PublishAsync(ctx context.Context, msg geminio.Message, ch chan *geminio.Publish, opts ...*options.PublishOptions) (*geminio.Publish, error) {
	switch {
	case ctx == nil:
		return nil, nilarg.New("publish async", "context")
	case msg == nil:
		return nil, nilarg.New("publish async", "message")
	}
	if err := r.check(msg.ClientID(), msg.StreamID()); err != nil {
		return nil, err
	}
	if err := r.admit(); err != nil {
		return nil, err
	}
	if ch == nil {
		ch = make(chan *geminio.Publish, 1)
	}
	p := &geminio.Publish{Message: msg, Done: ch}
	d := r.delivery(ctx, msg, opts)
	err := r.outbox.start(d.job(r, func(err error) {
		p.Error = err
		application.Hand(r.log, r.done, ch, p)
	}))
	if err != nil {
		return nil, err
	}
	return p, nil
}

// delivery is a message that is sent until it is answered.
type delivery struct {
	ctx    context.Context
	msg    geminio.Message
	until  time.Time
	order  uint64
	number uint64 // the same each time it is sent; 0: at most once
}

func (r *RetryEnd) delivery(ctx context.Context, msg geminio.Message, opts []*options.PublishOptions) delivery {
	d := delivery{ctx: ctx, msg: msg, until: until(application.PublishTimeout(msg, opts)), order: r.sent.Add(1)}
	if msg.Cnss() != options.CnssAtMostOnce {
		d.number = application.DeliveryBit | d.order
	}
	return d
}

// job makes a job of the outbox of it.
func (d delivery) job(r *RetryEnd, done func(error)) *job {
	return &job{
		lane: &r.outbox, order: d.order, size: len(d.msg.Data()) + len(d.msg.Custom()), index: -1,
		ctx: d.ctx, until: d.until, repeat: d.number != 0,
		begin: func(l *link, timeout time.Duration, done func(geminio.Response, error)) error {
			return l.control().StartPublish(d.ctx, d.number, d.msg, timeout, func(err error) { done(nil, err) })
		},
		done: func(_ geminio.Response, err error) { done(err) },
	}
}

// Receive returns the next message of the server, which is to be answered with Done
// or Error, and goes on over reconnects. When ctx ends before, it returns its error,
// and io.EOF after the end.
func (r *RetryEnd) Receive(ctx context.Context) (geminio.Message, error) {
	if ctx == nil {
		return nil, nilarg.New("receive", "context")
	}
	for {
		l, news := r.position(&r.rx)
		if l == nil {
			if r.over() { // whatever the context
				return nil, io.EOF
			}
			select {
			case <-news:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-r.done:
				return nil, io.EOF
			}
		}
		m, err := l.e.Receive(ctx)
		if err != io.EOF {
			return m, err
		}
		r.pass(&r.rx, l)
	}
}
