package conn

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// sessionPair is a session whose links a test makes.
type sessionPair struct {
	t              testing.TB
	server, client *Config
	s, c           *Conn
	wire           func() (client, server net.Conn)
	wg             sync.WaitGroup

	mu    sync.Mutex
	links []net.Conn // both ends of the last link
}

// newSessionPair returns a session over links of wire.
func newSessionPair(t testing.TB, wire func() (client, server net.Conn)) *sessionPair {
	p := &sessionPair{t: t, server: testConfig(), client: testConfig(), wire: wire}
	p.server.Resume = &ResumeConfig{Keep: 2 * time.Minute, Log: MinLog, Find: func([]byte) *Conn { return p.s }}
	p.client.Resume = &ResumeConfig{Keep: 2 * time.Minute, Log: MinLog}
	return p
}

// start makes the session.
func (p *sessionPair) start(upperC, upperS func(*Conn) FrameHandler) {
	near, far := p.wire()
	p.links = []net.Conn{near, far}
	servers := shake(geminio.RecipientSide, far, p.server)
	c, err := Client(near, p.client)
	require.NoError(p.t, err)
	r := <-servers
	require.NoError(p.t, r.err)
	p.c, p.s = c, r.c
	p.c.Start(upperC(p.c))
	p.s.Start(upperS(p.s))
	for _, c := range []*Conn{p.c, p.s} {
		p.wg.Go(func() {
			readAll(c)
			<-c.Done()
		})
	}
}

// resume resumes the session over a new link. It returns the results of both sides.
func (p *sessionPair) resume() (fresh *Conn, clientErr, serverErr error) {
	near, far := p.wire()
	cfg := *p.client
	r := *p.client.Resume
	r.Session = p.c
	cfg.Resume = &r
	servers := shake(geminio.RecipientSide, far, p.server)
	fresh, clientErr = Client(near, &cfg)
	server := <-servers
	p.mu.Lock()
	p.links = []net.Conn{near, far}
	p.mu.Unlock()
	if server.c != nil {
		server.c.Start(&fakeHandler{c: server.c})
		p.s = server.c
	}
	return fresh, clientErr, server.err
}

// cut closes an end of the last link.
func (p *sessionPair) cut(end int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	nc := p.links[end]
	if w, wraps := nc.(wrapper); wraps {
		nc = w.NetConn()
	}
	nc.Close()
}

// finish ends the session.
func (p *sessionPair) finish() {
	p.c.abort(errMine)
	p.s.abort(errMine)
	p.wg.Wait()
}

func pipe() (net.Conn, net.Conn) { return net.Pipe() }

// quietPair is a session without traffic in a bubble.
func quietPair(t *testing.T, change func(*sessionPair), test func(t *testing.T, p *sessionPair, c, s *fakeHandler)) {
	synctest.Test(t, func(t *testing.T) {
		p := newSessionPair(t, pipe)
		if change != nil {
			change(p)
		}
		var c, s *fakeHandler
		p.start(
			func(conn *Conn) FrameHandler { c = &fakeHandler{c: conn}; return c },
			func(conn *Conn) FrameHandler { s = &fakeHandler{c: conn}; return s },
		)
		first := p.s
		test(t, p, c, s)
		first.abort(errMine)
		p.finish()
	})
}

// A session may be cut before anything was sent, and many times in a row.
func TestManyCutsWithoutTraffic(t *testing.T) {
	quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
		for range 50 {
			p.cut(0)
			_, err, serverErr := p.resume()
			require.Equal(t, ErrResumed, err)
			require.Equal(t, ErrResumed, serverErr)
		}
		c.give(dataFrame(1, 2))
		p.c.Kick()
		s.give(dataFrame(3))
		p.s.Kick()
		time.Sleep(2 * time.Second)
		require.Len(t, s.seen().got, 1)
		require.Len(t, c.seen().got, 1)
		assert.Zero(t, p.c.SessionStats().Logged, "an idle connection keeps nothing")
		assert.Zero(t, p.s.SessionStats().Logged)
		assert.EqualValues(t, 50, p.s.SessionStats().Resumes)
	})
}

// The client returns while the server takes the old link for alive. Events of the old link
// have no effect.
func TestTwoLiveLinks(t *testing.T) {
	quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
		old := p.s.currentLink()
		_, err, _ := p.resume()
		require.Equal(t, ErrResumed, err)
		assert.NotSame(t, old, p.s.currentLink())
		p.s.cut(old, errMine)
		for range maxStalls {
			p.s.onStall(old)
		}
		assert.True(t, p.s.SessionStats().Connected, "the old link is of no account")
		c.give(dataFrame(1))
		p.c.Kick()
		synctest.Wait()
		assert.Len(t, s.seen().got, 1)
		p.cut(1)
		_, err, _ = p.resume()
		require.Equal(t, ErrResumed, err)
		time.Sleep(time.Hour)
		assert.Equal(t, Open, p.c.State())
	})
}

// A session ends when it was without a link for its time, on both sides.
func TestSessionExpires(t *testing.T) {
	quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
		p.cut(0)
		time.Sleep(2*time.Minute - time.Millisecond)
		assert.Equal(t, Open, p.c.State())
		assert.Equal(t, Open, p.s.State())
		time.Sleep(2 * time.Millisecond)
		assert.Equal(t, Closed, p.c.State())
		assert.Equal(t, Closed, p.s.State())
		assert.Equal(t, io.ErrUnexpectedEOF, s.seen().cause)
		assert.Equal(t, 1, s.seen().ends)
	})
}

// A session that has ended at the server, or that it does not know, makes a fresh
// connection of the same transport.
func TestFreshConnections(t *testing.T) {
	for name, change := range map[string]func(*sessionPair){
		"another server": func(p *sessionPair) { p.server.Resume.Find = func([]byte) *Conn { return nil } },
		"closed":         func(p *sessionPair) { p.s.abort(errMine) },
		"not continued": func(p *sessionPair) {
			p.server.Resume.Allow = func(_, _ *Conn, _ uint64) error { return ErrFresh }
		},
		"a wrong secret": func(p *sessionPair) { p.c.session.ticket.Secret = make([]byte, packet.SecretLen) },
		"an impossible position": func(p *sessionPair) {
			p.c.session.position.Store(1000)
			p.c.session.received = 1000
		},
		"without the feature": func(p *sessionPair) {
			cfg := *p.server
			cfg.Resume = nil
			p.server = &cfg
		},
		"without TLS": func(p *sessionPair) { p.s.session.identity.tls = true },
	} {
		t.Run(name, func(t *testing.T) {
			quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
				old := p.s
				p.cut(0)
				synctest.Wait()
				change(p)
				fresh, err, serverErr := p.resume()
				require.NoError(t, err)
				require.NoError(t, serverErr)
				require.NotNil(t, fresh)
				fresh.Start(&fakeHandler{c: fresh})
				assert.Equal(t, Closed, p.c.State())
				assert.Equal(t, 1, c.seen().ends)
				switch name {
				case "not continued":
					assert.Equal(t, Closed, old.State())
				case "an impossible position":
					assert.ErrorIs(t, old.Cause(), geminio.ErrProtocol)
				case "another server", "a wrong secret", "without the feature", "without TLS":
					assert.Equal(t, Open, old.State(), "nothing has changed")
				}
				fresh.abort(errMine)
			})
		})
	}
}

// A refusal leaves the session as it is.
func TestRefusedResumption(t *testing.T) {
	for name, change := range map[string]func(*sessionPair){
		"by the application": func(p *sessionPair) {
			p.server.Resume.Allow = func(_, _ *Conn, _ uint64) error { return errors.New("not now") }
		},
		"a replayed attempt": func(p *sessionPair) { p.s.session.attempt = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
				p.cut(0)
				synctest.Wait()
				change(p)
				_, err, _ := p.resume()
				var refused *geminio.RefusedError
				require.ErrorAs(t, err, &refused)
				assert.Equal(t, Open, p.c.State())
				assert.Equal(t, Open, p.s.State())
				p.server.Resume.Allow = nil
				_, err, _ = p.resume()
				require.Equal(t, ErrResumed, err)
			})
		})
	}
}

// An attempt that the server checks for longer than it takes the client to resume the session with
// a later one changes nothing: neither is the new link cut nor does ErrFresh end the session.
func TestOvertakenAttempt(t *testing.T) {
	for _, late := range []error{nil, ErrFresh} {
		quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
			p.cut(0)
			synctest.Wait()
			answer := make(chan error)
			var asked atomic.Bool
			p.server.Resume.Allow = func(_, _ *Conn, _ uint64) error {
				if asked.Swap(true) {
					return nil
				}
				return <-answer
			}
			near, far := p.wire()
			cfg := *p.client
			cfg.HandshakeTimeout = time.Second
			cfg.Resume = &ResumeConfig{Keep: time.Minute, Log: MinLog, Session: p.c}
			overtaken := shake(geminio.RecipientSide, far, p.server)
			_, err := Client(near, &cfg)
			require.Error(t, err)
			_, err, _ = p.resume()
			require.Equal(t, ErrResumed, err)
			answer <- late
			require.Error(t, (<-overtaken).err)
			synctest.Wait()
			assert.Equal(t, Open, p.s.State())
			assert.True(t, p.s.SessionStats().Connected)
			assert.EqualValues(t, 1, p.s.SessionStats().Interruptions)
		})
	}
}

// An answer that is no answer fails the attempt, and the session can be resumed later.
func TestGarbageForAnAnswer(t *testing.T) {
	quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
		p.cut(0)
		near, far := net.Pipe()
		go func() {
			io.CopyN(io.Discard, far, packet.HandshakeHeaderLen)
			far.SetDeadline(time.Now().Add(time.Second))
			far.Write([]byte("HTTP/1.1 400 Bad Request"))
			far.Close()
		}()
		cfg := *p.client
		cfg.Resume = &ResumeConfig{Keep: time.Minute, Log: MinLog, Session: p.c}
		_, err := Client(near, &cfg)
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrResumed)
		_, err, _ = p.resume()
		require.Equal(t, ErrResumed, err)
	})
}

// Expiry and resumption exclude each other.
func TestExpiryRacesResumption(t *testing.T) {
	for range 50 {
		wire := func() (net.Conn, net.Conn) { return kit.TCPPair(t) }
		p := newSessionPair(t, wire)
		p.server.Resume.Keep = 3 * time.Millisecond
		var c, s *fakeHandler
		p.start(
			func(conn *Conn) FrameHandler { c = &fakeHandler{c: conn}; return c },
			func(conn *Conn) FrameHandler { s = &fakeHandler{c: conn}; return s },
		)
		first := p.s
		p.cut(0)
		time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
		fresh, err, _ := p.resume()
		if fresh != nil {
			fresh.Start(&fakeHandler{c: fresh})
			fresh.abort(errMine)
			assert.Equal(t, Closed, p.c.State())
		} else {
			require.ErrorIs(t, err, ErrResumed)
			assert.Equal(t, Open, p.c.State())
		}
		first.abort(errMine)
		p.finish()
	}
}
