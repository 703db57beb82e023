package application

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
)

// Streams whose opener has written, and has closed them or its End in order, are handed
// out with what they have, however slow the acceptor and its callbacks are.
func TestStreamsOfAPeerThatLeavesAtOnce(t *testing.T) {
	const streams = 3
	for _, test := range []struct {
		name   string
		online bool // there is a DialogueOnline, which takes its time
		accept bool // and a function of SetAcceptStreamFunc, which does too
	}{
		{"AcceptStream", false, false},
		{"AcceptStream, with DialogueOnline", true, false},
		{"a function", false, true},
		{"a function, with DialogueOnline", true, true},
	} {
		for _, closed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/closed %v", test.name, closed), func(t *testing.T) {
				cfg := endConfig()
				given := make(chan geminio.Stream, streams+1)
				if test.online {
					cfg.Hooks.DialogueOnline = func(delegate.DialogueDescriber) error {
						time.Sleep(time.Second)
						return nil
					}
				}
				if test.accept {
					cfg.Hooks.AcceptStream = func(s geminio.Stream) {
						time.Sleep(time.Minute)
						given <- s
					}
				}
				withPair(t, nil, cfg, func(t *testing.T, client, server *End) {
					for i := range streams {
						s, err := client.OpenStream()
						require.NoError(t, err)
						_, err = fmt.Fprintf(s, "bytes %d", i)
						require.NoError(t, err)
						opt := options.NewMessage()
						opt.SetCnss(options.CnssAtMostOnce)
						require.NoError(t, s.Publish(context.Background(), s.NewMessage(fmt.Appendf(nil, "message %d", i), opt)))
						if closed {
							require.NoError(t, s.Close())
						}
					}
					client.Close()
					time.Sleep(time.Hour)
					synctest.Wait()
					for i := range streams {
						var s geminio.Stream
						if test.accept {
							require.NotEmpty(t, given, "stream %d", i)
							s = <-given
						} else {
							var err error
							s, err = server.AcceptStream()
							require.NoError(t, err, "stream %d", i)
						}
						all, err := io.ReadAll(s)
						require.NoError(t, err)
						assert.Equal(t, fmt.Sprint("bytes ", i), string(all))
						m, err := s.Receive(t.Context())
						require.NoError(t, err)
						assert.Equal(t, fmt.Sprint("message ", i), string(m.Data()))
						_, err = s.Receive(t.Context())
						assert.Equal(t, io.EOF, err)
					}
					_, err := server.AcceptStream()
					assert.Equal(t, io.EOF, err)
					assert.Empty(t, given)
				})
			})
		}
	}
}
