package wire1

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/oldpeer"
)

// setup has an End and its peer of wire 1.
type setup struct {
	t    *testing.T
	end  geminio.End
	peer *oldpeer.Peer
	ctx  context.Context
}

// config has the options of both. The End is that of the client or that of the server.
type config struct {
	server bool
	limits options.Limits
	client client.EndOptions
	serve  server.EndOptions
	peer   oldpeer.Config
}

// connect returns an End and its peer of wire 1.
func connect(t *testing.T, c *config) *setup {
	t.Helper()
	return connectAnd(t, c, nil)
}

// connectAnd is connect. It calls f with the peer before the constructor of the End returns.
func connectAnd(t *testing.T, c *config, f func(*oldpeer.Peer)) *setup {
	t.Helper()
	near, far := net.Pipe()
	s := &setup{t: t, ctx: t.Context()}
	peers := make(chan error, 1)
	go func() {
		var err error
		if c.server {
			s.peer, err = oldpeer.Dial(far, c.peer)
		} else {
			s.peer, err = oldpeer.Accept(far, c.peer)
		}
		if err == nil && f != nil {
			f(s.peer)
		}
		peers <- err
	}()
	var err error
	if c.server {
		c.serve.Limits = c.limits
		s.end, err = server.NewEndWithConn(near, &c.serve)
	} else {
		c.client.Limits = c.limits
		s.end, err = client.NewEndWithConn(near, &c.client)
	}
	require.NoError(t, err)
	require.NoError(t, <-peers)
	return s
}

// close ends both.
func (s *setup) close() {
	s.end.Close()
	s.peer.Cut()
}

// eachRole runs a test with an End as the client and one as the server, in a bubble.
func eachRole(t *testing.T, change func(*config), f func(t *testing.T, s *setup)) {
	for _, role := range []string{"client", "server"} {
		t.Run(role, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &config{server: role == "server"}
				if change != nil {
					change(c)
				}
				s := connect(t, c)
				defer s.close()
				f(t, s)
			})
		})
	}
}

// echo is the handler of the peer's methods.
func echo(ctx context.Context, _ *oldpeer.Session, p wire1.Packet) ([]byte, error) {
	switch string(p.Key) {
	case "echo":
		return append([]byte("old "), p.Value...), nil
	case "same":
		return p.Value, nil
	case "fail":
		return nil, errors.New("it did not work")
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "sleep":
		time.Sleep(time.Minute)
		return nil, nil
	}
	return nil, errors.New("no such rpc: " + string(p.Key))
}

// echoing sets echo as the handler of the peer.
func echoing(c *config) { c.peer.Handle = echo }

// within returns a context that ends after d.
func (s *setup) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(s.ctx, d)
	s.t.Cleanup(cancel)
	return ctx
}

// accept accepts a stream of the peer.
func (s *setup) accept() geminio.Stream {
	s.t.Helper()
	stream, err := s.end.AcceptStream()
	require.NoError(s.t, err)
	return stream
}

// wantEnd waits for the end of both, and requires the cause of the End.
func (s *setup) wantEnd(cause error) {
	s.t.Helper()
	<-s.peer.Over()
	synctest.Wait()
	_, err := s.end.AcceptStream()
	assert.Error(s.t, err)
	assert.ErrorIs(s.t, geminio.Cause(s.end), cause)
}
