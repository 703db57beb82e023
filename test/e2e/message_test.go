package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// publish publishes data and returns the channel of the error.
func publish(s geminio.Messager, msg geminio.Message, opts ...*options.PublishOptions) <-chan error {
	return kit.Start(func() error { return s.Publish(context.Background(), msg, opts...) })
}

// receive receives the next message.
func receive(t *testing.T, s geminio.Messager) geminio.Message {
	t.Helper()
	m, err := s.Receive(kit.Deadline(t))
	require.NoError(t, err)
	return m
}

func TestPublish(t *testing.T) {
	eachStream(t, func(t *testing.T, from, to geminio.Stream) {
		opt := options.NewMessage()
		opt.SetTopic("first")
		opt.SetCustom([]byte("custom"))
		msg := from.NewMessage([]byte("hello"), nil, opt)
		require.Equal(t, "first", msg.Topic())
		require.Equal(t, options.CnssAtLeastOnce, msg.Cnss())
		done := publish(from, msg)
		m := receive(t, to)
		require.Equal(t, "hello", string(m.Data()))
		require.Equal(t, "first", m.Topic())
		require.Equal(t, "custom", string(m.Custom()))
		require.Equal(t, options.CnssAtLeastOnce, m.Cnss())
		require.Equal(t, msg.ID(), m.ID())
		require.Equal(t, to.ClientID(), m.ClientID())
		require.Equal(t, to.StreamID(), m.StreamID())
		require.Zero(t, m.Timeout())
		select {
		case err := <-done:
			t.Fatalf("Publish returned %v before the message was acknowledged", err)
		default:
		}
		require.NoError(t, m.Done())
		require.NoError(t, kit.Await(t, kit.Forever, "Publish", done))
		require.Equal(t, geminio.ErrAnswered, m.Done())
		require.Equal(t, geminio.ErrAnswered, m.Error(errors.New("too late")))

		msg = from.NewMessage(nil, opt)
		msg.SetTopic("second")
		msg.SetCustom([]byte("changed"))
		msg.SetTimeout(kit.Forever)
		done = publish(from, msg)
		m = receive(t, to)
		require.Empty(t, m.Data())
		require.Equal(t, "second", m.Topic())
		require.Equal(t, "changed", string(m.Custom()))
		require.Greater(t, m.Timeout(), kit.Forever/2)
		text := "no such account: 世界"
		require.NoError(t, m.Error(errors.New(text)))
		err := kit.Await(t, kit.Forever, "Publish", done)
		require.EqualError(t, err, text)
		var remote *geminio.RemoteError
		require.ErrorAs(t, err, &remote)
		require.Equal(t, geminio.ErrAnswered, m.Done())

		done = publish(from, from.NewMessage(nil))
		require.NoError(t, receive(t, to).Error(nil))
		require.NoError(t, kit.Await(t, kit.Forever, "Publish", done), "Error(nil) is Done")
	})
}

func TestPublishAtMostOnce(t *testing.T) {
	eachStream(t, func(t *testing.T, from, to geminio.Stream) {
		for _, n := range []int{0, 10, 100_000} {
			data := bytes.Clone(large()[:n])
			opt := options.NewMessage()
			opt.SetCnss(options.CnssAtMostOnce)
			opt.SetTopic("topic")
			kit.Within(t, promptly, "Publish", func() {
				require.NoError(t, from.Publish(context.Background(), from.NewMessage(data, opt)))
			})
			clear(data) // the memory belongs to the caller again
			m := receive(t, to)
			require.True(t, bytes.Equal(large()[:n], m.Data()))
			require.Equal(t, options.CnssAtMostOnce, m.Cnss())
			require.Equal(t, "topic", m.Topic())
			require.NoError(t, m.Done())
			require.NoError(t, m.Error(errors.New("nobody is told")))
		}
		p, err := from.PublishAsync(context.Background(), onceMessage(from, 5), nil)
		require.NoError(t, err)
		require.Same(t, p, kit.Await(t, kit.Forever, "the publish", p.Done))
		require.NoError(t, p.Error)
		receive(t, to)
	})
}

func TestPublishAsync(t *testing.T) {
	eachStream(t, func(t *testing.T, from, to geminio.Stream) {
		given := make(chan *geminio.Publish)
		for i := range 20 {
			msg := from.NewMessage([]byte{byte(i)})
			p, err := from.PublishAsync(t.Context(), msg, given)
			require.NoError(t, err)
			require.Equal(t, msg, p.Message)
		}
		for i := range 20 {
			m := receive(t, to)
			require.Equal(t, byte(i), m.Data()[0])
			if i%2 == 0 {
				require.NoError(t, m.Done())
			} else {
				require.NoError(t, m.Error(errors.New("odd")))
			}
		}
		seen := make(map[byte]bool)
		for range 20 {
			p := kit.Await(t, kit.Forever, "a publish", given)
			n := p.Message.Data()[0]
			seen[n] = true
			if n%2 == 0 {
				require.NoError(t, p.Error)
			} else {
				require.EqualError(t, p.Error, "odd")
			}
		}
		require.Len(t, seen, 20)

		ctx, cancel := context.WithCancel(t.Context())
		p, err := from.PublishAsync(ctx, from.NewMessage(nil), nil)
		require.NoError(t, err)
		m := receive(t, to)
		cancel()
		require.Equal(t, context.Canceled, kit.Await(t, promptly, "the publish", p.Done).Error)
		require.NoError(t, m.Done(), "Done after the publisher has given up")
	})
}

// TestMessageOrder publishes messages of different sizes and guarantees by Publish and
// PublishAsync.
func TestMessageOrder(t *testing.T) {
	eachStream(t, func(t *testing.T, from, to geminio.Stream) {
		messages := kit.Amount("tcp", 600)
		sizes := []int{8, 100_000, 20, 5000, 1 << 20, 8, 8190, 8200, 70_000, 8}
		sent := kit.Start(func() error {
			outcomes := make(chan *geminio.Publish, messages)
			asked := 0
			for i := range messages {
				data := make([]byte, sizes[i%len(sizes)])
				binary.BigEndian.PutUint64(data, uint64(i))
				opt := options.NewMessage()
				if i%3 == 0 {
					opt.SetCnss(options.CnssAtMostOnce)
				}
				if _, err := from.PublishAsync(context.Background(), from.NewMessage(data, opt), outcomes); err != nil {
					return err
				}
				asked++
			}
			for range asked {
				if p := <-outcomes; p.Error != nil {
					return p.Error
				}
			}
			return nil
		})
		for i := range messages {
			m := receive(t, to)
			require.Len(t, m.Data(), sizes[i%len(sizes)])
			require.EqualValues(t, i, binary.BigEndian.Uint64(m.Data()))
			require.NoError(t, m.Done())
		}
		require.NoError(t, kit.Await(t, kit.Forever, "all outcomes", sent))
	})
}

func TestPublishTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := rig.NewPair(t, "pipe", nil, nil)
		opt := options.Publish()
		opt.SetTimeout(3 * time.Second)
		for _, c := range []struct {
			name    string
			want    time.Duration
			publish func() error
		}{
			{"of options", 3 * time.Second, func() error {
				return p.Client.Publish(context.Background(), p.Client.NewMessage(nil), opt)
			}},
			{"of the message", 2 * time.Second, func() error {
				m := p.Client.NewMessage(nil)
				m.SetTimeout(2 * time.Second)
				return p.Client.Publish(context.Background(), m)
			}},
			{"of both", 3 * time.Second, func() error {
				m := p.Client.NewMessage(nil)
				m.SetTimeout(2 * time.Second)
				return p.Client.Publish(context.Background(), m, nil, opt)
			}},
			{"of the context", time.Second, func() error {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				return p.Client.Publish(ctx, p.Client.NewMessage(nil), opt)
			}},
			{"of an asynchronous one", 3 * time.Second, func() error {
				a, err := p.Client.PublishAsync(context.Background(), p.Client.NewMessage(nil), nil, opt)
				require.NoError(t, err)
				return (<-a.Done).Error
			}},
		} {
			at := time.Now()
			require.Equal(t, context.DeadlineExceeded, c.publish(), c.name)
			require.Equal(t, c.want, time.Since(at), c.name)
			require.NoError(t, receive(t, p.Server).Done(), c.name)
		}
	})
}

func TestReceiveContext(t *testing.T) {
	eachStream(t, func(t *testing.T, from, to geminio.Stream) {
		ctx, cancel := context.WithCancel(t.Context())
		done := kit.Start(func() error { _, err := to.Receive(ctx); return err })
		cancel()
		require.Equal(t, context.Canceled, kit.Await(t, promptly, "Receive", done))
		require.NoError(t, from.Publish(t.Context(), onceMessage(from, 3)))
		require.Len(t, receive(t, to).Data(), 3)
	})
}

// TestSlowReceiver requires that a publisher without credit continues when the receiver
// receives.
func TestSlowReceiver(t *testing.T) {
	for _, size := range []int{100, kit.Amount("tcp", 1<<20)} {
		var credit [4]int
		synctest.Test(t, func(t *testing.T) {
			testSlowReceiver(t, "pipe", size, func(i int, from geminio.Stream) int {
				credit[i] = fillMessages(t, from, size)
				return credit[i]
			})
		})
		testSlowReceiver(t, "tcp", size, func(i int, from geminio.Stream) int {
			publishMany(t, from, credit[i], size)
			return credit[i]
		})
	}
}

// testSlowReceiver publishes messages of the given size on the Ends and on a stream, in both
// directions. The function fill uses up the credit of the i-th of them, and returns the number
// of messages.
func testSlowReceiver(t *testing.T, network string, size int, fill func(i int, from geminio.Stream) int) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetMaxMessageSize(1 << 20)
	so.SetMaxMessageSize(1 << 20)
	co.SetMemoryBudget(20 << 20) // little credit to use up
	so.SetMemoryBudget(20 << 20)
	p := rig.NewPair(t, network, co, so)
	opener, acceptor := rig.OpenStream(t, p.Client, p.Server)
	for i, way := range [4][2]geminio.Stream{{p.Client, p.Server}, {p.Server, p.Client}, {opener, acceptor}, {acceptor, opener}} {
		from, to := way[0], way[1]
		n := fill(i, from)
		require.Positive(t, n, "messages with credit")
		done := publish(from, onceMessage(from, size))
		for range n + 1 {
			require.Len(t, receive(t, to).Data(), size)
		}
		require.NoError(t, kit.Await(t, promptly, "the return of Publish", done))
	}
}

// TestReceiveAfterClose receives the messages that arrived before the close, and then io.EOF.
func TestReceiveAfterClose(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	for _, closeEnd := range []bool{false, true} {
		a, b := rig.OpenStream(t, p.Client, p.Server)
		sizes := []int{10, 50_000, 10, 9000}
		for _, n := range sizes {
			require.NoError(t, a.Publish(t.Context(), onceMessage(a, n)))
		}
		unanswered, err := a.PublishAsync(t.Context(), a.NewMessage(nil), nil)
		require.NoError(t, err)
		if closeEnd {
			require.NoError(t, p.Client.Close())
		} else {
			require.NoError(t, a.Close())
		}
		outcome := kit.Await(t, promptly, "the outcome", unanswered.Done).Error
		_, err = io.ReadAll(b) // returns when b has noticed the end
		require.NoError(t, err)
		for _, n := range sizes {
			require.Len(t, receive(t, b).Data(), n)
		}
		if !errors.Is(outcome, geminio.ErrNotExecuted) { // the message was sent
			require.ErrorIs(t, outcome, geminio.ErrMaybeExecuted)
			require.Equal(t, io.EOF, receive(t, b).Done())
		}
		_, err = b.Receive(t.Context())
		require.Equal(t, io.EOF, err)
	}
}

func TestMessageMismatch(t *testing.T) {
	eachStream(t, func(t *testing.T, from, _ geminio.Stream) {
		msg := from.NewMessage(nil)
		msg.SetClientID(from.ClientID() + 1)
		require.EqualError(t, from.Publish(t.Context(), msg), "mismatch clientID")
		_, err := from.PublishAsync(t.Context(), msg, nil)
		require.Equal(t, geminio.ErrMismatchClientID, err)
		msg.SetClientID(from.ClientID())
		msg.SetStreamID(from.StreamID() + 1)
		require.EqualError(t, from.Publish(t.Context(), msg), "mismatch streamID")
	})
}
