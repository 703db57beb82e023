package bench

import (
	"context"
	"testing"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/rig"
)

// rawAck is the size of an acknowledgement over raw TCP.
const rawAck = 1

// BenchmarkMessage publishes one acknowledged message at a time, beside a raw exchange of
// as many bytes and one byte back.
func BenchmarkMessage(b *testing.B) {
	eachPayload(b, func(b *testing.B, size int) { benchmarkMessages(b, 1, size) })
}

// BenchmarkMessages64 has 64 publishers on one connection, beside 64 raw connections.
func BenchmarkMessages64(b *testing.B) {
	eachPayload(b, func(b *testing.B, size int) { benchmarkMessages(b, many, size) })
}

// benchmarkMessages publishes messages of size bytes. The bytes of acknowledgements do
// not count.
func benchmarkMessages(b *testing.B, publishers, size int) {
	c := acknowledged(b)
	data := make([]byte, size)
	publish := func() error { return c.Publish(context.Background(), c.NewMessage(data)) }
	b.SetBytes(int64(size))
	contest{
		raw:   exchanges(b, publishers, size, rawAck),
		ours:  by(publishers, publish),
		least: 2 * publishers,
	}.run(b)
}

// BenchmarkMessageAsync has one publisher with up to 64 messages under way, beside one
// raw connection with as many unacknowledged ones.
func BenchmarkMessageAsync(b *testing.B) {
	eachPayload(b, func(b *testing.B, size int) {
		p := newPipeline(acknowledged(b), size)
		b.SetBytes(int64(size))
		contest{raw: rawPipeline(b, size), ours: p.publish, least: 2 * many}.run(b)
	})
}

// BenchmarkMessageOnce has one publisher of at-most-once messages, beside as many raw
// writes. The last message of a turn is acknowledged when all have been received.
func BenchmarkMessageOnce(b *testing.B) {
	eachPayload(b, func(b *testing.B, size int) {
		c := acknowledged(b)
		ctx, data := context.Background(), make([]byte, size)
		once := options.NewMessage()
		once.SetCnss(options.CnssAtMostOnce)
		b.SetBytes(int64(size))
		contest{
			raw: rawFlow(b, 1, size).move,
			ours: func(n int) error {
				for range n - 1 {
					if err := c.Publish(ctx, c.NewMessage(data, once)); err != nil {
						return err
					}
				}
				return c.Publish(ctx, c.NewMessage(data))
			},
			least: many,
		}.run(b)
	})
}

// acknowledged returns an End whose peer acknowledges all messages.
func acknowledged(tb testing.TB) geminio.End {
	c, s := ends(tb)
	go rig.AnswerAll(s)
	return c
}

// pipeline publishes messages with up to many of them under way.
type pipeline struct {
	end      geminio.End
	data     []byte
	done     chan *geminio.Publish
	underWay int
}

func newPipeline(end geminio.End, size int) *pipeline {
	return &pipeline{end: end, data: make([]byte, size), done: make(chan *geminio.Publish, many)}
}

// publish publishes n messages and waits for all.
func (p *pipeline) publish(n int) error {
	for range n {
		if err := p.next(); err != nil {
			return err
		}
	}
	for p.underWay > 0 {
		if err := p.reap(); err != nil {
			return err
		}
	}
	return nil
}

// next publishes one more message. If necessary it first waits for an acknowledgement.
func (p *pipeline) next() error {
	if p.underWay == many {
		if err := p.reap(); err != nil {
			return err
		}
	}
	if _, err := p.end.PublishAsync(context.Background(), p.end.NewMessage(p.data), p.done); err != nil {
		return err
	}
	p.underWay++
	return nil
}

// reap waits for an acknowledgement.
func (p *pipeline) reap() error {
	p.underWay--
	return (<-p.done).Error
}

// rawPipeline writes size bytes at a time with up to many of them unacknowledged.
func rawPipeline(tb testing.TB, size int) side {
	c, s := rawPair(tb)
	go answer(s, size, rawAck)
	type acks struct {
		n   int
		err error
	}
	arrived := make(chan acks, many)
	go func() {
		in := make([]byte, many*rawAck)
		for {
			n, err := c.Read(in)
			arrived <- acks{n, err}
			if err != nil {
				return
			}
		}
	}()
	out := make([]byte, size)
	return func(n int) error {
		for underWay := 0; n > 0 || underWay > 0; {
			if n > 0 && underWay < many {
				if _, err := c.Write(out); err != nil {
					return err
				}
				n--
				underWay++
				continue
			}
			got := <-arrived
			if got.err != nil {
				return got.err
			}
			underWay -= got.n
		}
		return nil
	}
}
