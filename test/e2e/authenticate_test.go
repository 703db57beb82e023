package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// guardian is a delegate that authenticates clients. decide is called with each of them.
type guardian struct {
	*delegate.UnimplementedDelegate
	t      *testing.T
	decide func(ctx context.Context, info delegate.ConnInfo) (uint64, error)

	mu    sync.Mutex
	infos []delegate.ConnInfo
	ended []error // the errors of the contexts, when the callback returned
	conns []delegate.ConnDescriber
}

func (g *guardian) Authenticate(ctx context.Context, info delegate.ConnInfo) (uint64, error) {
	g.mu.Lock()
	g.infos = append(g.infos, info)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.ended = append(g.ended, ctx.Err())
		g.mu.Unlock()
	}()
	return g.decide(ctx, info)
}

func (g *guardian) GetClientID(uint64, []byte) (uint64, error) {
	g.t.Error("GetClientID is called")
	return 0, nil
}

func (g *guardian) ConnOnline(c delegate.ConnDescriber) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = append(g.conns, c)
	return nil
}

// asked returns what Authenticate was called with.
func (g *guardian) asked() []delegate.ConnInfo {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.infos)
}

// ends returns the errors of the contexts when Authenticate returned.
func (g *guardian) ends() []error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.ended)
}

// online returns the connections of ConnOnline.
func (g *guardian) online() []delegate.ConnDescriber {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.conns)
}

// guarded runs a test with a Listener that has the delegate, in a bubble.
func guarded(t *testing.T, decide func(ctx context.Context, info delegate.ConnInfo) (uint64, error), test func(t *testing.T, g *guardian, l server.Listener, pipes *kit.PipeListener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &guardian{t: t, decide: decide}
		opt := server.NewEndOptions()
		opt.SetDelegate(g)
		opt.SetHandshakeTimeout(8 * time.Second)
		pipes := kit.NewPipeListener()
		l, err := server.NewListener(pipes, opt)
		require.NoError(t, err)
		defer l.Close()
		test(t, g, l, pipes)
	})
}

// dialIn connects a client whose handshake may take a minute.
func dialIn(pipes *kit.PipeListener, opts ...*client.EndOptions) (geminio.End, error) {
	patient := client.NewEndOptions()
	patient.SetHandshakeTimeout(time.Minute)
	return client.NewEndWithDialer(func() (net.Conn, error) { return pipes.Dial() }, append([]*client.EndOptions{patient}, opts...)...)
}

func TestAuthenticate(t *testing.T) {
	decide := func(_ context.Context, info delegate.ConnInfo) (uint64, error) {
		if tokens := info.Metadata.Get("token"); len(tokens) != 1 || tokens[0] != "sesame" {
			return 0, coded{1234, "wrong token"}
		}
		return 77, nil
	}
	guarded(t, decide, func(t *testing.T, g *guardian, l server.Listener, pipes *kit.PipeListener) {
		_, err := dialIn(pipes)
		var refused *geminio.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, geminio.RefusedError{Code: 1234, Text: "wrong token"}, *refused)

		opt := client.NewEndOptions()
		opt.SetClientID(5)
		opt.SetMeta([]byte("meta"))
		opt.SetMetadata(metadata.Pairs("token", "sesame"))
		end, err := dialIn(pipes, opt)
		require.NoError(t, err)
		defer end.Close()
		assert.EqualValues(t, 77, end.ClientID())
		info := g.asked()[1]
		assert.EqualValues(t, 5, info.WantedID)
		assert.Equal(t, "meta", string(info.Meta))
		assert.Equal(t, metadata.MD{"token": {"sesame"}}, info.Metadata)
		assert.NotNil(t, info.LocalAddr)
		assert.NotNil(t, info.RemoteAddr)
		assert.Nil(t, info.TLS)
		assert.False(t, info.Resumes)
		assert.Equal(t, []error{nil, nil}, g.ends())
		assert.Equal(t, metadata.MD{"token": {"sesame"}}, metadata.From(g.online()[0]), "in ConnOnline")
		assert.Nil(t, g.online()[0].(delegate.TLSDescriber).TLS())

		// The first frame after a watched handshake arrives complete.
		far, err := l.AcceptEnd()
		require.NoError(t, err)
		require.NoError(t, far.Register(t.Context(), "echo", func(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }))
		resp, err := end.Call(t.Context(), "echo", end.NewRequest([]byte("hello")))
		require.NoError(t, err)
		assert.Equal(t, "hello", string(resp.Data()))
	})
}

// coded is an error with a code.
type coded struct {
	code geminio.Code
	text string
}

func (e coded) Error() string      { return e.text }
func (e coded) Code() geminio.Code { return e.code }

// A client is told that its authentication takes too long, also if the callback ignores its
// context.
func TestSlowAuthentication(t *testing.T) {
	for name, decide := range map[string]func(context.Context, delegate.ConnInfo) (uint64, error){
		"observes its context": func(ctx context.Context, _ delegate.ConnInfo) (uint64, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		},
		"ignores its context": func(context.Context, delegate.ConnInfo) (uint64, error) {
			time.Sleep(time.Hour)
			return 1, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			guarded(t, decide, func(t *testing.T, g *guardian, l server.Listener, pipes *kit.PipeListener) {
				start := time.Now()
				_, err := dialIn(pipes)
				var refused *geminio.RefusedError
				require.ErrorAs(t, err, &refused)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.EqualError(t, err, "the server has not identified the client after 6s")
				assert.Equal(t, 6*time.Second, time.Since(start))
				time.Sleep(2 * time.Hour)
				assert.Equal(t, []error{context.DeadlineExceeded}, g.ends())
				assert.Empty(t, g.online())
			})
		})
	}
}

// The context of Authenticate ends when the client has gone, and when the listener is closed.
func TestAuthenticationIsCanceled(t *testing.T) {
	wait := func(ctx context.Context, _ delegate.ConnInfo) (uint64, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	t.Run("the client has gone", func(t *testing.T) {
		guarded(t, wait, func(t *testing.T, g *guardian, l server.Listener, pipes *kit.PipeListener) {
			dialed := make(chan net.Conn, 1)
			failed := make(chan error, 1)
			go func() {
				_, err := client.NewEndWithDialer(func() (net.Conn, error) {
					nc, err := pipes.Dial()
					dialed <- nc
					return nc, err
				})
				failed <- err
			}()
			time.Sleep(time.Second)
			assert.Empty(t, g.ends())
			(<-dialed).Close()
			synctest.Wait()
			assert.Equal(t, []error{context.Canceled}, g.ends())
			assert.Error(t, <-failed)
		})
	})
	t.Run("the listener is closed", func(t *testing.T) {
		guarded(t, wait, func(t *testing.T, g *guardian, l server.Listener, pipes *kit.PipeListener) {
			failed := make(chan error, 1)
			go func() {
				_, err := dialIn(pipes)
				failed <- err
			}()
			time.Sleep(time.Second)
			l.Close()
			synctest.Wait()
			assert.Equal(t, []error{context.Canceled}, g.ends())
			assert.Error(t, <-failed)
		})
	})
}

// A client that sends frames before the answer breaks a rule.
func TestFramesBeforeAuthentication(t *testing.T) {
	wait := func(ctx context.Context, _ delegate.ConnInfo) (uint64, error) {
		<-ctx.Done()
		return 1, nil
	}
	guarded(t, wait, func(t *testing.T, g *guardian, l server.Listener, pipes *kit.PipeListener) {
		_, err := client.NewEndWithDialer(func() (net.Conn, error) {
			nc, err := pipes.Dial()
			go func() {
				time.Sleep(time.Second)
				nc.Write([]byte{1})
			}()
			return nc, err
		})
		assert.Error(t, err)
		time.Sleep(time.Second)
		assert.Equal(t, []error{context.Canceled}, g.ends())
		assert.Empty(t, g.online())
	})
}

// Over sockets and TLS, the context ends when the client has gone, and the connection works when
// the handshake is over.
func TestAuthenticateOverSockets(t *testing.T) {
	for _, name := range []string{"tcp", "tls", "wrapped tls"} {
		t.Run(name, func(t *testing.T) {
			secure := name != "tcp"
			decided := make(chan struct{}, 10)
			ended := make(chan error, 1)
			g := &guardian{t: t, decide: func(ctx context.Context, info delegate.ConnInfo) (uint64, error) {
				if (info.TLS != nil) != secure || secure && !info.TLS.HandshakeComplete {
					return 0, errors.New("wrong TLS state")
				}
				if len(info.Metadata) == 0 {
					return 7, nil
				}
				decided <- struct{}{}
				<-ctx.Done()
				ended <- ctx.Err()
				return 0, ctx.Err()
			}}
			opt := server.NewEndOptions()
			opt.SetDelegate(g)
			nl, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			dial := func() (net.Conn, error) { return net.Dial("tcp", nl.Addr().String()) }
			if secure {
				nl = tls.NewListener(nl, kit.ServerTLS())
				dial = func() (net.Conn, error) { return tls.Dial("tcp", nl.Addr().String(), kit.ClientTLS()) }
			}
			if name == "wrapped tls" {
				nl = wrapping{nl}
			}
			l, err := server.NewListener(nl, opt)
			require.NoError(t, err)
			defer l.Close()

			leaving := client.NewEndOptions()
			leaving.SetMetadata(metadata.Pairs("leaves", "yes"))
			dialed := make(chan net.Conn, 1)
			failed := kit.Start(func() error {
				_, err := client.NewEndWithDialer(func() (net.Conn, error) {
					nc, err := dial()
					dialed <- nc
					return nc, err
				}, leaving)
				return err
			})
			<-decided
			(<-dialed).Close()
			assert.Equal(t, context.Canceled, <-ended)
			assert.Error(t, <-failed)

			end, err := client.NewEndWithDialer(dial)
			require.NoError(t, err)
			defer end.Close()
			far, err := l.AcceptEnd()
			require.NoError(t, err)
			assert.EqualValues(t, 7, far.ClientID())
			require.NoError(t, end.Publish(t.Context(), acknowledge(t, far, end.NewMessage([]byte("hello")))))
			assert.Equal(t, secure, g.online()[0].(delegate.TLSDescriber).TLS() != nil)
		})
	}
}

// acknowledge has far acknowledge the next message, and returns m.
func acknowledge(t *testing.T, far geminio.End, m geminio.Message) geminio.Message {
	go func() {
		got, err := far.Receive(context.Background())
		if assert.NoError(t, err) {
			got.Done()
		}
	}()
	return m
}

// wrapping is a listener whose connections wrap those of another one.
type wrapping struct{ net.Listener }

func (l wrapping) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return wrapped{nc}, nil
}

// wrapped is a net.Conn around another one.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// Authenticate is asked for each connection with which a client resumes a session. It accepts with
// 0 or the id of the session, refuses with an error, and ends the session with another id.
func TestAuthenticateResumptions(t *testing.T) {
	var mu sync.Mutex
	next := func(context.Context, delegate.ConnInfo) (uint64, error) { return 7, nil }
	set := func(id uint64, err error) {
		mu.Lock()
		defer mu.Unlock()
		next = func(context.Context, delegate.ConnInfo) (uint64, error) { return id, err }
	}
	g := &guardian{t: t, decide: func(ctx context.Context, info delegate.ConnInfo) (uint64, error) {
		mu.Lock()
		defer mu.Unlock()
		return next(ctx, info)
	}}
	so, co := server.NewEndOptions(), client.NewEndOptions()
	so.SetDelegate(g)
	co.SetMetadata(metadata.Pairs("token", "sesame"))
	withSession(t, co, so, func(t *testing.T, f *resumeTest) {
		require.Len(t, g.asked(), 1)
		assert.False(t, g.asked()[0].Resumes)
		for i, id := range []uint64{0, 7} {
			set(id, nil)
			f.cut(false)
			time.Sleep(5 * time.Second)
			require.Len(t, g.asked(), 2+i)
			assert.True(t, g.asked()[1+i].Resumes)
			assert.Equal(t, metadata.MD{"token": {"sesame"}}, g.asked()[1+i].Metadata)
			assert.True(t, f.c.Stats().Connected)
			assert.NoError(t, geminio.Cause(f.s), "id %d", id)
		}
		set(0, errors.New("not now"))
		f.cut(false)
		time.Sleep(5 * time.Second)
		assert.False(t, f.c.Stats().Connected)
		assert.NoError(t, geminio.Cause(f.s), "the session is not lost by a refusal")
		n := len(g.asked())
		assert.Greater(t, n, 3)
		set(0, nil)
		time.Sleep(5 * time.Second)
		assert.True(t, f.c.Stats().Connected)
		assert.NoError(t, geminio.Cause(f.s))

		set(8, nil)
		n = len(g.asked())
		f.cut(false)
		time.Sleep(5 * time.Second)
		assert.Error(t, geminio.Cause(f.s), "another id ends the session")
		assert.Len(t, g.asked(), n+1, "a handshake asks once")
		assert.EqualValues(t, 8, f.c.ClientID())
		far, err := f.l.AcceptEnd()
		require.NoError(t, err)
		assert.EqualValues(t, 8, far.ClientID())
		far.Close()
	})
}
