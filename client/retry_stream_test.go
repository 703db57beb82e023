package client

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// Streams that the server has opened are handed out even if their connection has ended, and the
// next one was made, before AcceptStream is called.
func TestStreamsOfTheConnectionBefore(t *testing.T) {
	for _, orderly := range []bool{true, false} {
		withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
			open := func(text string, finished bool) {
				s, err := l.server().OpenStream()
				require.NoError(t, err)
				opt := options.NewMessage()
				opt.SetCnss(options.CnssAtMostOnce)
				require.NoError(t, s.Publish(t.Context(), s.NewMessage([]byte(text), opt)))
				_, err = s.Write([]byte(text))
				require.NoError(t, err)
				if finished {
					require.NoError(t, s.Close())
				}
				synctest.Wait()
			}
			open("first", true)
			open("second", false)
			if orderly {
				require.NoError(t, l.server().Close())
			} else {
				l.lose()
			}
			time.Sleep(time.Minute) // the next connection is made
			require.True(t, l.end.Stats().Connected)
			open("third", true)
			for _, text := range []string{"first", "second", "third"} {
				s, err := l.end.AcceptStream()
				require.NoError(t, err)
				all, err := io.ReadAll(s)
				assert.Equal(t, text, string(all))
				if text == "second" && !orderly {
					assert.ErrorIs(t, err, geminio.ErrConnectionLost)
				} else {
					assert.NoError(t, err)
				}
				m, err := s.Receive(t.Context())
				require.NoError(t, err)
				assert.Equal(t, text, string(m.Data()))
				_, err = s.Receive(t.Context())
				assert.Equal(t, io.EOF, err)
			}
			next := kit.Run(func() error { _, err := l.end.AcceptStream(); return err })
			kit.Blocked(t, next)
			l.lose()
			kit.Blocked(t, next)
			time.Sleep(time.Minute)
			open("fourth", true)
			require.NoError(t, kit.Returned(t, next))
			open("not taken", true)
			require.NoError(t, l.end.Close())
			_, err := l.end.AcceptStream()
			assert.Equal(t, io.EOF, err, "AcceptStream after Close")
		})
	}
}

func TestOpenStreamWaitsForAConnection(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		l.cut()
		opt := options.OpenStream()
		opt.SetMeta([]byte("meta"))
		opened := kit.Run(func() geminio.Stream {
			s, err := l.end.OpenStream(opt)
			require.NoError(t, err)
			return s
		})
		l.waiting(1)
		assert.Equal(t, len("meta"), l.end.Stats().WaitingBytes)
		l.mend()
		s := kit.Returned(t, opened)
		assert.Equal(t, "meta", string(s.Meta()))
		assert.Equal(t, []geminio.Stream{l.end, s}, l.end.ListStreams())

		l.lose()
		_, err := s.Read(make([]byte, 1))
		assert.ErrorIs(t, err, geminio.ErrConnectionLost)
		assert.Equal(t, []geminio.Stream{l.end}, l.end.ListStreams(), "ListStreams without a connection")
		time.Sleep(time.Minute)
		s, err = l.end.OpenStream()
		require.NoError(t, err, "OpenStream on the next connection")
		require.NoError(t, s.Close())
	})
}

func TestOpenStreamIsRefused(t *testing.T) {
	sopt := server.NewEndOptions()
	sopt.SetMaxStreams(1)
	withRetryEnd(t, sopt, nil, func(t *testing.T, l *retryTest) {
		_, err := l.end.OpenStream()
		require.NoError(t, err)
		_, err = l.end.OpenStream()
		assert.Error(t, err)
		assert.NotErrorIs(t, err, geminio.ErrNotConnected)
		assert.EqualValues(t, 1, l.end.Stats().Connections, "connections after a refused stream, which is not repeated")
	})
}

func TestAcceptReturnsConnections(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		accepted := kit.Run(func() net.Conn {
			c, err := l.end.Accept()
			require.NoError(t, err)
			return c
		})
		_, err := l.server().OpenStream()
		require.NoError(t, err)
		assert.Implements(t, (*geminio.Stream)(nil), kit.Returned(t, accepted))
		l.end.Close()
		_, err = l.end.Accept()
		assert.Equal(t, io.EOF, err)
		assert.Empty(t, l.end.ListStreams())
	})
}
