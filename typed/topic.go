package typed

import (
	"context"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// Topic describes the messages of a topic, whose data is a T. Both sides usually share one
// variable. All methods are safe for concurrent use.
type Topic[T any] struct {
	// Name is the topic of the messages.
	Name string
	// Codec encodes the messages. Nil stands for JSON. Both sides must use the same.
	Codec Codec
	// Cnss is the delivery guarantee. 0 stands for options.CnssAtLeastOnce.
	Cnss options.Cnss
}

// Publish publishes a message, and waits until the receiver has answered it. The error is that of
// the receiver's handler as a *geminio.RemoteError, one of the others of
// [geminio.Messager.Publish], or a [*DataError] if v cannot be encoded.
func (t Topic[T]) Publish(ctx context.Context, peer geminio.Messager, v T, opts ...*options.PublishOptions) error {
	c := coderOf(t.Codec, t.Name)
	data, err := c.encode(nil, "message", v)
	if err != nil {
		return err
	}
	opt := options.NewMessage()
	opt.SetTopic(t.Name)
	if t.Cnss != 0 {
		opt.SetCnss(t.Cnss)
	}
	return peer.Publish(c.outgoing(ctx), peer.NewMessage(data, opt), opts...)
}

// SubscribeOptions are the options of [Topic.Subscribe].
type SubscribeOptions[T any] struct {
	// Key returns the key of a message. The messages of a key are handled in order, those of
	// different keys at the same time. Nil gives all messages of the topic one key.
	Key func(T) string
	// Unordered has all messages handled at the same time. Key is then not used.
	Unordered bool
}

// Subscribe has d call h for each message of the topic, in place of an earlier handler. A nil h
// ends that. If h returns nil, the publisher's Publish returns nil. The error of h is sent to the
// publisher with its text and code (see geminio.Coder). If the message cannot be decoded, the
// publisher gets an error with geminio.CodeInvalid, and h is not called.
//
// The messages are handled in their order, one after the other, unless opts say otherwise. Nil
// options are skipped, and the last ones count.
func (t Topic[T]) Subscribe(d *Dispatcher, h func(context.Context, T) error, opts ...*SubscribeOptions[T]) {
	if h == nil {
		d.subscribe(t.Name, nil)
		return
	}
	var opt SubscribeOptions[T]
	for _, o := range opts {
		if o != nil {
			opt = *o
		}
	}
	c := coderOf(t.Codec, t.Name)
	decode := func(m geminio.Message) (v T, err error) {
		if err := c.checkOf("message", m); err != nil {
			return v, err
		}
		err = c.decode("message", m.Data(), &v)
		return v, err
	}
	s := &subscription{unordered: opt.Unordered}
	if opt.Key == nil || opt.Unordered {
		s.prepare = func(m geminio.Message) (string, task) {
			return "", func(ctx context.Context) error {
				v, err := decode(m)
				if err != nil {
					return err
				}
				return h(ctx, v)
			}
		}
	} else {
		s.prepare = func(m geminio.Message) (string, task) {
			v, err := decode(m)
			if err != nil {
				return "", func(context.Context) error { return err }
			}
			return opt.Key(v), func(ctx context.Context) error { return h(ctx, v) }
		}
	}
	d.subscribe(t.Name, s)
}
