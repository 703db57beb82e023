package application

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
)

// Messages of a stream that has ended cannot be answered any more.
func TestShutdownDoesNotWaitForMessagesOfAStreamThatHasEnded(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(client, server *Stream)
	}{
		{"closed here", func(_, server *Stream) { server.Close() }},
		{"closed by the publisher", func(client, _ *Stream) { client.Close() }},
		{"reset here", func(_, server *Stream) { server.Reset(geminio.FirstApplicationCode, "test") }},
		{"reset by the publisher", func(client, _ *Stream) { client.Reset(geminio.FirstApplicationCode, "test") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			withPair(t, nil, nil, func(t *testing.T, client, server *End) {
				opened, err := client.OpenStream()
				require.NoError(t, err)
				accepted, err := server.AcceptStream()
				require.NoError(t, err)
				published := make(chan error, 5)
				for range cap(published) {
					go func() { published <- opened.Publish(context.Background(), opened.NewMessage(nil)) }()
				}
				synctest.Wait()
				var taken []geminio.Message // two of the five
				for range 2 {
					m, err := accepted.Receive(t.Context())
					require.NoError(t, err)
					taken = append(taken, m)
				}
				require.NoError(t, taken[0].Done())
				require.NoError(t, <-published)

				test.end(opened.(*Stream), accepted.(*Stream))
				synctest.Wait()
				for range 4 {
					assert.ErrorIs(t, <-published, geminio.ErrMaybeExecuted)
				}
				assert.Zero(t, server.unanswered.Load())
				assert.Equal(t, io.EOF, taken[1].Done(), "the answer comes too late")
				assert.Equal(t, geminio.ErrAnswered, taken[0].Done())
				assert.Zero(t, server.unanswered.Load())
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				require.NoError(t, server.Shutdown(ctx))
				assert.Zero(t, time.Since(start))
			})
		})
	}
}

func TestOpenStreamCarriesEverything(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		opt := options.OpenStream()
		opt.SetMeta([]byte("meta"))
		opt.SetPeer("peer")
		near, err := client.OpenStream(opt)
		require.NoError(t, err)
		far, err := server.AcceptStream()
		require.NoError(t, err)
		for name, s := range map[string]geminio.Stream{"opener": near, "acceptor": far} {
			assert.Equal(t, "meta", string(s.Meta()), "Meta of the %s", name)
			assert.Equal(t, "peer", s.Peer(), "Peer of the %s", name)
			assert.EqualValues(t, 42, s.ClientID(), "ClientID of the %s", name)
			assert.Equal(t, near.StreamID(), s.StreamID(), "StreamID of the %s", name)
		}
		assert.Equal(t, geminio.InitiatorSide, near.Side())
		assert.Equal(t, geminio.RecipientSide, far.Side())
		assert.Equal(t, []geminio.Stream{client, near}, client.ListStreams())
		assert.Equal(t, []geminio.Stream{server, far}, server.ListStreams())
		near.Close()
		far.Close()
		synctest.Wait()
		assert.Equal(t, []geminio.Stream{client}, client.ListStreams())
		client.Close()
		assert.Empty(t, client.ListStreams())
		_, err = client.OpenStream()
		assert.Equal(t, io.EOF, err, "OpenStream after Close")
		_, err = client.Accept()
		assert.Equal(t, io.EOF, err, "Accept after Close")
	})
}

func TestOpenStreamEndsWithItsTimeout(t *testing.T) {
	cfg := endConfig()
	cfg.Hooks.DialogueOnline = func(delegate.DialogueDescriber) error {
		time.Sleep(time.Hour)
		return nil
	}
	withPair(t, nil, cfg, func(t *testing.T, client, server *End) {
		opt := options.OpenStream()
		opt.SetTimeout(time.Minute)
		start := time.Now()
		_, err := client.OpenStream(opt)
		assert.Equal(t, context.DeadlineExceeded, err)
		assert.Equal(t, time.Minute, time.Since(start))
		opt.SetTimeout(2 * time.Hour)
		s, err := client.OpenStream(opt)
		require.NoError(t, err)
		time.Sleep(3 * time.Hour)
		_, err = s.Write([]byte("x"))
		assert.NoError(t, err, "the timeout is that of OpenStream alone")
	})
}

// A context ends the wait of OpenStreamContext. A later answer of the peer has no effect.
func TestOpenStreamEndsWithItsContext(t *testing.T) {
	var online, offline atomic.Int64
	cfg := endConfig()
	cfg.Hooks.DialogueOnline = func(delegate.DialogueDescriber) error {
		time.Sleep(time.Hour)
		online.Add(1)
		return nil
	}
	cfg.Hooks.DialogueOffline = func(delegate.DialogueDescriber) { offline.Add(1) }
	withPair(t, nil, cfg, func(t *testing.T, client, server *End) {
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(gone) })
		start := time.Now()
		_, err := client.OpenStreamContext(ctx)
		assert.Equal(t, context.Canceled, err)
		assert.Equal(t, time.Minute, time.Since(start))
		_, err = client.OpenStreamContext(ctx)
		assert.Equal(t, context.Canceled, err, "OpenStreamContext with a context that has ended")
		assert.Len(t, client.ListStreams(), 1)
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Len(t, server.ListStreams(), 1)
		assert.EqualValues(t, 1, online.Load(), "streams that were offered to the peer")
		assert.EqualValues(t, 1, offline.Load())

		timed, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		_, err = client.OpenStreamContext(timed)
		assert.Equal(t, context.DeadlineExceeded, err)
		opt := options.OpenStream()
		opt.SetTimeout(time.Second)
		start = time.Now()
		_, err = client.OpenStreamContext(t.Context(), opt)
		assert.Equal(t, context.DeadlineExceeded, err, "the timeout of the options")
		assert.Equal(t, time.Second, time.Since(start))

		ctx, cancel = context.WithCancelCause(t.Context())
		s, err := client.OpenStreamContext(ctx)
		require.NoError(t, err)
		cancel(gone)
		synctest.Wait()
		_, err = s.Write([]byte("x"))
		assert.NoError(t, err, "the context is that of OpenStreamContext alone")

		_, err = client.OpenStreamContext(context.Context(nil))
		assert.EqualError(t, err, "open: the context is nil")
	})
}

// If the context ends when the peer accepts the stream, both sides have the stream, or none.
func TestOpenStreamThatIsCanceledWhenItIsAccepted(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		go func() {
			for {
				far, err := server.AcceptStream()
				if err != nil {
					return
				}
				go func() {
					io.Copy(io.Discard, far)
					far.Close()
				}()
			}
		}()
		for range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			canceled := make(chan struct{})
			go func() { cancel(); close(canceled) }()
			s, err := client.OpenStreamContext(ctx)
			<-canceled
			synctest.Wait()
			want := 2
			if err != nil {
				require.Equal(t, context.Canceled, err)
				want = 1
			}
			require.Len(t, client.ListStreams(), want)
			require.Len(t, server.ListStreams(), want)
			if err == nil {
				_, err = s.Write([]byte("x"))
				require.NoError(t, err)
				require.NoError(t, s.Close())
				synctest.Wait()
			}
		}
	})
}

func TestAcceptReturnsConnections(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		near, err := client.OpenStream()
		require.NoError(t, err)
		far, err := server.Accept()
		require.NoError(t, err)
		_, err = near.Write([]byte("x"))
		require.NoError(t, err)
		_, err = far.Read(make([]byte, 1))
		require.NoError(t, err)
		assert.Equal(t, server.LocalAddr(), server.Addr())
		assert.Equal(t, client.RemoteAddr(), near.RemoteAddr())
	})
}

func TestConstructorsFail(t *testing.T) {
	t.Run("the peer does not confirm the methods", func(t *testing.T) {
		cfg := endConfig()
		cfg.LocalMethods = []*geminio.MethodRPC{{Method: "m", RPC: noRPC}}
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			c, _ := shake(t, near, far)
			start := time.Now()
			e, err := New(t.Context(), c, cfg)
			assert.ErrorIs(t, err, geminio.ErrHandshakeTimeout)
			want := connConfig().HandshakeTimeout + connConfig().Linger // New closes the End
			assert.Equal(t, want, time.Since(start).Truncate(time.Second))
			<-e.Done()
		})
	})
	t.Run("the context ends", func(t *testing.T) {
		cfg := endConfig()
		cfg.RemoteMethods = []string{"m"}
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			c, _ := shake(t, near, far)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			e, err := New(ctx, c, cfg)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			<-e.Done()
		})
	})
	for name, test := range map[string]struct {
		end  func(server *End)
		want error
	}{
		"the peer closes with a reason": {func(server *End) { server.CloseWithError(geminio.FirstApplicationCode, "no") }, &geminio.RemoteError{Code: geminio.FirstApplicationCode, Text: "no"}},
		"the peer closes":               {func(server *End) { server.Close() }, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := endConfig()
			cfg.RemoteMethods = []string{"m"}
			synctest.Test(t, func(t *testing.T) {
				client, server := startPair(t, cfg, endConfig())
				defer client.Close()
				result := make(chan error, 1)
				go func() { result <- (*Control)(client).ExchangeMethods(t.Context()) }()
				synctest.Wait()
				test.end(server)
				assert.Equal(t, test.want, <-result)
			})
		})
	}
	t.Run("the peer is shutting down", func(t *testing.T) {
		cfg, serverCfg := endConfig(), endConfig()
		cfg.RemoteMethods = []string{"m"}
		serverCfg.RetryAfter = time.Minute
		synctest.Test(t, func(t *testing.T) {
			client, server := startPair(t, cfg, serverCfg)
			defer client.Close()
			result := make(chan error, 1)
			go func() { result <- (*Control)(client).ExchangeMethods(t.Context()) }()
			synctest.Wait()
			require.NoError(t, server.Shutdown(t.Context()))
			err := <-result
			var refused *geminio.RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, time.Minute, refused.RetryAfter)
			assert.ErrorIs(t, err, geminio.ErrGoingAway)
		})
	})
}

func TestCloseEndsBothSides(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		assert.NoError(t, client.Cause(), "before the end")
		select {
		case <-client.Done():
			t.Error("Done is closed before the end")
		default:
		}
		_, err := client.Write([]byte("the last bytes"))
		require.NoError(t, err)
		require.NoError(t, client.Close())
		require.NoError(t, client.Close(), "the second Close")
		<-client.Done()
		<-server.Done()
		assert.Equal(t, io.EOF, client.Cause())
		assert.Equal(t, io.EOF, server.Cause())
		got, err := io.ReadAll(server)
		require.NoError(t, err)
		assert.Equal(t, "the last bytes", string(got))
	})
}

// TestShutdownWaits has one operation of each kind under way.
func TestShutdownWaits(t *testing.T) {
	for _, name := range []string{"a call", "a call of the peer", "a message", "a received message", "a stream"} {
		t.Run(name, func(t *testing.T) {
			withPair(t, nil, nil, func(t *testing.T, client, server *End) {
				release := make(chan struct{})
				wait := func(context.Context, geminio.Request, geminio.Response) { <-release }
				register(t, client, "m", wait)
				register(t, server, "m", wait)
				result := make(chan error, 1)
				finish := func() { close(release) }
				publish := func(from, to *End) {
					go func() { result <- from.Publish(context.Background(), from.NewMessage(nil)) }()
					m, err := to.Receive(t.Context())
					require.NoError(t, err)
					finish = func() { m.Done() }
				}
				switch name {
				case "a call":
					go func() { result <- call(context.Background(), client, "m") }()
				case "a call of the peer":
					go func() { result <- call(context.Background(), server, "m") }()
				case "a message":
					publish(client, server)
				case "a received message":
					publish(server, client)
				case "a stream":
					near, far := openPair(t, client, server)
					finish = func() {
						far.Close()
						result <- near.Close()
					}
				}
				synctest.Wait()
				shutdown := make(chan error, 1)
				go func() { shutdown <- client.Shutdown(t.Context()) }()
				time.Sleep(time.Minute)
				require.Empty(t, shutdown, "Shutdown waits")
				for side, e := range map[string]*End{"this side": client, "the peer": server} {
					assert.Equal(t, geminio.ErrGoingAway, call(t.Context(), e, "m"), "a new call of %s", side)
					_, err := e.OpenStream()
					assert.Equal(t, geminio.ErrGoingAway, err, "a new stream of %s", side)
				}
				finish()
				assert.NoError(t, <-result, name)
				assert.NoError(t, <-shutdown)
				assert.Equal(t, io.EOF, client.Cause())
			})
		})
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		var none context.Context
		assert.ErrorContains(t, client.Shutdown(none), "nil")
		openPair(t, client, server)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		assert.Equal(t, context.DeadlineExceeded, client.Shutdown(ctx))
		assert.Equal(t, time.Minute, time.Since(start))
		assert.Equal(t, io.EOF, client.Cause())
		assert.NoError(t, client.Shutdown(t.Context()), "after the end")
	})
}
