package client

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/kit"
)

// Streams that the server has opened and written are handed out, although their connection
// has ended, and another one stands, before AcceptStream is called.
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
			assert.Equal(t, io.EOF, err, "after Close")
		})
	}
}
