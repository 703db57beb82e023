package application

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// Streams whose opener has written, and has closed them or its End in order, are accepted with
// all bytes and messages, even if the acceptor and its callbacks are slow.
func TestStreamsOfAPeerThatLeavesAtOnce(t *testing.T) {
	const streams = 3
	for _, test := range []struct {
		name   string
		online bool // there is a DialogueOnline, which is slow
		accept bool // there is a function of SetAcceptStreamFunc, which is slow
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

// hookLog records the calls of hooks.
type hookLog struct {
	mu    sync.Mutex
	calls []string
}

func (l *hookLog) add(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, fmt.Sprintf(format, a...))
}

// hooks returns hooks that record their calls. DialogueOnline returns refuse.
func (l *hookLog) hooks(refuse func(delegate.DialogueDescriber) error) Hooks {
	return Hooks{
		Offline: func(delegate.ConnDescriber) { l.add("offline") },
		DialogueOnline: func(d delegate.DialogueDescriber) error {
			l.add("online %d", d.DialogueID())
			return refuse(d)
		},
		DialogueOffline:    func(d delegate.DialogueDescriber) { l.add("offline %d", d.DialogueID()) },
		ClosedStream:       func(s geminio.Stream) { l.add("closed %d", s.StreamID()) },
		RemoteRegistration: func(method string, _, streamID uint64) { l.add("registered %s on %d", method, streamID) },
		Done:               func() { l.add("done") },
	}
}

func accepted(delegate.DialogueDescriber) error { return nil }

func TestHooksAreInOrder(t *testing.T) {
	var atClient, atServer hookLog
	clientCfg, serverCfg := endConfig(), endConfig()
	clientCfg.Hooks, serverCfg.Hooks = atClient.hooks(accepted), atServer.hooks(accepted)
	withPair(t, clientCfg, serverCfg, func(t *testing.T, client, server *End) {
		near, far := openPair(t, client, server)
		id := near.StreamID()
		require.NoError(t, far.Register(t.Context(), "m", noRPC))
		near.Close()
		far.Close()
		synctest.Wait()
		openPair(t, client, server)
		synctest.Wait()
		client.Close()
		<-server.Done()
		synctest.Wait()
		stream := func(event string, n uint64) string { return fmt.Sprint(event, " ", id+n) }
		assert.Equal(t, []string{
			stream("online", 0), fmt.Sprintf("registered m on %d", id), stream("offline", 0), stream("closed", 0),
			stream("online", 2),
		}, atClient.calls[:5], "at the client")
		assert.Equal(t, []string{
			stream("online", 0), stream("offline", 0), stream("closed", 0), stream("online", 2),
		}, atServer.calls[:4], "at the server")
		for side, l := range map[string]*hookLog{"client": &atClient, "server": &atServer} {
			rest := l.calls[len(l.calls)-4:]
			assert.ElementsMatch(t, []string{"done", stream("offline", 2), stream("closed", 2), "offline"}, rest, "at the end of the %s", side)
			assert.Equal(t, "offline", rest[3], "the last hook of the %s", side)
		}
	})
}

func TestDialogueOnlineRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		refuse func(delegate.DialogueDescriber) error
		want   geminio.RefusedError
	}{
		"an error": {func(delegate.DialogueDescriber) error { return errors.New("no") }, geminio.RefusedError{Code: geminio.CodeApplication, Text: "no"}},
		"a code":   {func(delegate.DialogueDescriber) error { return &geminio.RemoteError{Code: 1234, Text: "no"} }, geminio.RefusedError{Code: 1234, Text: "no"}},
		"a code of the library": {func(delegate.DialogueDescriber) error {
			return &geminio.RemoteError{Code: geminio.CodeGoingAway, Text: "no"}
		}, geminio.RefusedError{Code: geminio.CodeApplication, Text: "no"}},
		"a panic": {func(delegate.DialogueDescriber) error { panic("no") }, geminio.RefusedError{Code: geminio.CodePanic}},
		"runtime.Goexit": {func(delegate.DialogueDescriber) error {
			runtime.Goexit()
			return nil
		}, geminio.RefusedError{Code: geminio.CodePanic}},
	} {
		t.Run(name+" at the acceptor", func(t *testing.T) {
			var log hookLog
			cfg := endConfig()
			cfg.Hooks = log.hooks(test.refuse)
			withPair(t, nil, cfg, func(t *testing.T, client, server *End) {
				_, err := client.OpenStream()
				var refused *geminio.RefusedError
				require.ErrorAs(t, err, &refused)
				assert.Equal(t, test.want.Code, refused.Code)
				assert.Contains(t, refused.Text, test.want.Text)
				client.Close()
				<-server.Done()
				synctest.Wait()
				assert.Len(t, log.calls, 3, "online, done and offline: %v", log.calls)
			})
		})
		t.Run(name+" at the opener", func(t *testing.T) {
			cfg := endConfig()
			cfg.Hooks.DialogueOnline = test.refuse
			withPair(t, cfg, nil, func(t *testing.T, client, server *End) {
				_, err := client.OpenStream()
				require.NoError(t, err)
				far, err := server.AcceptStream()
				require.NoError(t, err)
				synctest.Wait()
				_, err = far.Read(make([]byte, 1))
				assert.Equal(t, test.want.Code, asStreamError(t, err).Code)
			})
		})
	}
}

func TestHeartbeatsBehindASlowHookAreDropped(t *testing.T) {
	cfg := endConfig()
	release := make(chan struct{})
	calls := 0
	cfg.Hooks.Heartbeat = func(delegate.ConnDescriber) {
		<-release
		calls++
	}
	withPair(t, nil, cfg, func(t *testing.T, client, server *End) {
		release = make(chan struct{})
		(*handler)(server).OnPing()
		synctest.Wait()
		for range 100 {
			(*handler)(server).OnPing()
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		assert.Equal(t, maxQueuedPings+1, calls, "the calls that were queued, and the one that was running")
		(*handler)(server).OnPing()
		synctest.Wait()
		assert.Equal(t, maxQueuedPings+2, calls)
	})
}

func TestPacketsThatBreakTheRules(t *testing.T) {
	for name, test := range map[string]struct {
		typ  packet.Type
		seq  uint64
		body []byte
		want string
	}{
		"an unknown type":                  {packet.Type(0x7e), 1, nil, "no packet of type 0x7e is known"},
		"a request without a number":       {packet.TypeRequest, 0, requestBody("m"), "the number 0"},
		"a registration without a number":  {packet.TypeRegister, 0, []byte("m"), "the number 0"},
		"a message without a number":       {packet.TypeMessage, 0, (&packet.Message{Cnss: 2}).Append(nil), "the number 0"},
		"a request that is too short":      {packet.TypeRequest, 1, []byte("x"), "request"},
		"a response that is too short":     {packet.TypeResponse, 1, []byte("x"), "response"},
		"a message that is too short":      {packet.TypeMessage, 1, []byte("x"), "message"},
		"a cancellation that is too short": {packet.TypeCancel, 1, []byte("x"), "cancel"},
	} {
		t.Run(name, func(t *testing.T) {
			withPair(t, nil, nil, func(t *testing.T, client, _ *End) {
				err := (*handler)(client).Packet(client.Stream.d, test.typ, test.seq, test.body, false)
				var broken *packet.Error
				require.ErrorAs(t, err, &broken)
				assert.ErrorContains(t, err, test.want)
			})
		})
	}
}

// TestAnswersThatNobodyAwaits has answers to operations that were given up, or have never been
// begun. They break no rule.
func TestAnswersThatNobodyAwaits(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, _ *End) {
		for typ, body := range map[packet.Type][]byte{
			packet.TypeResponse:   (&packet.Response{}).Append(nil),
			packet.TypeAck:        (&packet.Answer{}).Append(nil),
			packet.TypeRegistered: (&packet.Answer{}).Append(nil),
			packet.TypeCancel:     (&packet.Answer{}).Append(nil),
		} {
			assert.NoError(t, (*handler)(client).Packet(client.Stream.d, typ, 1000, body, false), typ.String())
		}
	})
}

func TestRemoteError(t *testing.T) {
	assert.NoError(t, remoteError(0, "ignored"))
	assert.Equal(t, &geminio.RemoteError{Code: 7, Text: "text"}, remoteError(7, "text"))
}
