package application

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// A message that arrives while its stream is being closed is dropped.
func TestMessageThatArrivesDuringClose(t *testing.T) {
	for _, used := range []bool{true, false} {
		withPair(t, nil, nil, func(t *testing.T, client, server *End) {
			opened, err := client.OpenStream()
			require.NoError(t, err)
			s, err := server.AcceptStream()
			require.NoError(t, err)
			accepted := s.(*Stream)
			if used {
				accepted.inbox()
			}
			require.NoError(t, accepted.Close())
			m := packet.Message{Cnss: 2}
			body := append(m.Append(nil), "late"...)
			received(accepted, packet.TypeMessage, len(body))
			require.NoError(t, server.takeMessage(accepted, 77, body, false), "takeMessage during Close")
			assert.Zero(t, server.unanswered.Load())
			_, err = accepted.Receive(t.Context())
			assert.Equal(t, io.EOF, err)
			opened.Close()
		})
	}
}

func TestMessageCarriesEverything(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		opt := options.NewMessage()
		opt.SetCustom([]byte("custom"))
		opt.SetTopic("topic")
		sent := client.NewMessage([]byte("data"), opt)
		sent.SetTimeout(time.Minute)
		published := make(chan error, 1)
		go func() { published <- client.Publish(context.Background(), sent) }()
		got, err := server.Receive(t.Context())
		require.NoError(t, err)
		assert.Equal(t, sent.ID(), got.ID(), "ID")
		assert.EqualValues(t, 42, got.ClientID(), "ClientID")
		assert.EqualValues(t, 1, got.StreamID(), "StreamID")
		assert.Equal(t, time.Minute, got.Timeout(), "Timeout")
		assert.Equal(t, "topic", got.Topic(), "Topic")
		assert.Equal(t, "data", string(got.Data()), "Data")
		assert.Equal(t, "custom", string(got.Custom()), "Custom")
		assert.Equal(t, options.CnssAtLeastOnce, got.Cnss(), "Cnss")
		require.NoError(t, got.Done())
		require.NoError(t, <-published)
	})
}

func TestMessageSetters(t *testing.T) {
	m := NewMessage(1, 2, 3, nil, nil)
	m.SetTimeout(time.Second)
	m.SetCustom([]byte("custom"))
	m.SetTopic("topic")
	m.SetClientID(20)
	m.SetStreamID(30)
	assert.EqualValues(t, 1, m.ID())
	assert.Equal(t, time.Second, m.Timeout())
	assert.Equal(t, "custom", string(m.Custom()))
	assert.Equal(t, "topic", m.Topic())
	assert.EqualValues(t, 20, m.ClientID())
	assert.EqualValues(t, 30, m.StreamID())
}

func TestAnswersOfAMessage(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for name, test := range map[string]struct {
		answer func(geminio.Message) error
		want   error
	}{
		"Done":             {geminio.Message.Done, nil},
		"Error of nil":     {func(m geminio.Message) error { return m.Error(nil) }, nil},
		"Error":            {func(m geminio.Message) error { return m.Error(errors.New("no")) }, &geminio.RemoteError{Code: geminio.CodeApplication, Text: "no"}},
		"Error of a code":  {func(m geminio.Message) error { return m.Error(&geminio.RemoteError{Code: 1234, Text: "no"}) }, &geminio.RemoteError{Code: 1234, Text: "no"}},
		"Error of a limit": {func(m geminio.Message) error { return m.Error(geminio.ErrTooMany) }, &geminio.RemoteError{Code: geminio.CodeLimit, Text: "too many"}},
		"Error, long":      {func(m geminio.Message) error { return m.Error(errors.New(long)) }, &geminio.RemoteError{Code: geminio.CodeApplication, Text: long[:packet.MaxAnswer]}},
	} {
		t.Run(name, func(t *testing.T) {
			withPair(t, nil, nil, func(t *testing.T, client, server *End) {
				published := make(chan error, 1)
				sent := client.NewMessage(nil)
				go func() { published <- client.Publish(context.Background(), sent) }()
				m, err := server.Receive(t.Context())
				require.NoError(t, err)
				require.NoError(t, test.answer(m))
				assert.Equal(t, test.want, <-published)
				assert.Equal(t, geminio.ErrAnswered, m.Done(), "the second answer")
				assert.Equal(t, geminio.ErrAnswered, m.Error(errors.New("no")), "the third answer")
				assert.NoError(t, sent.Done(), "Done at the publisher has no effect")
				assert.NoError(t, sent.Error(errors.New("no")), "nor has Error")
			})
		})
	}
}

func TestMessageAtMostOnceHasNoAnswer(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		require.NoError(t, client.Publish(t.Context(), onceMessage(client.Stream)), "before it is received")
		assert.True(t, client.pending.empty())
		done := make(chan error, 1)
		require.NoError(t, client.startPublish(t.Context(), 0, onceMessage(client.Stream), 0, func(err error) { done <- err }))
		require.NoError(t, <-done)
		for range 2 {
			m, err := server.Receive(t.Context())
			require.NoError(t, err)
			assert.Equal(t, options.CnssAtMostOnce, m.Cnss())
			assert.NoError(t, m.Done())
			assert.NoError(t, m.Error(errors.New("no")))
		}
		assert.Zero(t, server.unanswered.Load())
		assert.Equal(t, context.Canceled, client.Publish(ended(t), onceMessage(client.Stream)))
	})
}

func TestPublishRefusesItsArguments(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		stream, _ := openPair(t, client, server)
		long := client.NewMessage(nil)
		long.SetTopic(strings.Repeat("x", packet.MaxName+1))
		opt := options.NewMessage()
		opt.SetCnss(7)
		for _, test := range []struct {
			name string
			ctx  context.Context
			msg  geminio.Message
			want string // in the text of the error
		}{
			{"no context", nil, client.NewMessage(nil), "nil"},
			{"no message", t.Context(), nil, "nil"},
			{"another stream", t.Context(), stream.NewMessage(nil), "mismatch streamID"},
			{"another client", t.Context(), NewMessage(1, 43, 1, nil, nil), "mismatch clientID"},
			{"a long topic", t.Context(), long, "topic: too large"},
			{"another cnss", t.Context(), client.NewMessage(nil, opt), "neither at most once nor at least once"},
			{"large data", t.Context(), client.NewMessage(make([]byte, 2<<20)), "too large"},
			{"a context that has ended", ended(t), client.NewMessage(nil), "context canceled"},
		} {
			assert.ErrorContains(t, client.Publish(test.ctx, test.msg), test.want, test.name)
			p, err := client.PublishAsync(test.ctx, test.msg, nil)
			assert.Nil(t, p, test.name)
			assert.ErrorContains(t, err, test.want, "PublishAsync: %s", test.name)
		}
		client.Close()
		assert.Equal(t, io.EOF, client.Publish(t.Context(), client.NewMessage(nil)), "after Close")
	})
}

func TestPublishAsyncSendsThePublish(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		msg := client.NewMessage(nil)
		p, err := client.PublishAsync(context.Background(), msg, nil)
		require.NoError(t, err)
		assert.Same(t, msg, p.Message)
		m, err := server.Receive(t.Context())
		require.NoError(t, err)
		require.NoError(t, m.Error(errors.New("no")))
		got := <-p.Done
		assert.Same(t, p, got)
		assert.EqualError(t, got.Error, "no")
	})
}

func TestPublishTimeout(t *testing.T) {
	msg := NewMessage(1, 1, 1, nil, nil)
	timeout := func(d time.Duration) *options.PublishOptions {
		opt := options.Publish()
		opt.SetTimeout(d)
		return opt
	}
	assert.Zero(t, PublishTimeout(msg, nil), "without any")
	msg.SetTimeout(time.Second)
	assert.Equal(t, time.Second, PublishTimeout(msg, nil), "of the message")
	assert.Equal(t, time.Second, PublishTimeout(msg, []*options.PublishOptions{options.Publish()}), "options without a timeout")
	assert.Equal(t, time.Minute, PublishTimeout(msg, []*options.PublishOptions{timeout(time.Minute)}), "of the options")
	assert.Zero(t, PublishTimeout(msg, []*options.PublishOptions{timeout(-1)}), "a negative one")
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		var none context.Context
		_, err := server.Receive(none)
		assert.ErrorContains(t, err, "nil")
		_, err = server.Receive(ended(t))
		assert.Equal(t, context.Canceled, err)
		require.NoError(t, client.Publish(t.Context(), onceMessage(client.Stream)))
		synctest.Wait()
		_, err = server.Receive(ended(t))
		assert.NoError(t, err, "a message that has arrived")
	})
}
