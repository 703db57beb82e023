package attack

import (
	"crypto/tls"
	"errors"
	"fmt"
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
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// resumeSite is a Listener in a bubble whose clients are raw.
type resumeSite struct {
	t     *testing.T
	l     server.Listener
	pipes *kit.PipeListener
	gate  *resumeGate
}

// resumeGate refuses clients with the text that is set.
type resumeGate struct {
	*delegate.UnimplementedDelegate
	refusal atomic.Pointer[string]
	resumed atomic.Int64
	hang    atomic.Pointer[chan struct{}] // ConnResumed waits for it; nil: it does not
}

func (g *resumeGate) GetClientID(uint64, []byte) (uint64, error) {
	if text := g.refusal.Load(); text != nil {
		return 0, errors.New(*text)
	}
	return 0, nil
}

func (g *resumeGate) ConnResumed(delegate.ConnDescriber) error {
	g.resumed.Add(1)
	if hang := g.hang.Load(); hang != nil {
		<-*hang
	}
	return nil
}

func onResumeSite(t *testing.T, change func(*server.EndOptions), wrap func(net.Listener) net.Listener, test func(t *testing.T, s *resumeSite)) {
	t.Helper()
	settleHeap()
	synctest.Test(t, func(t *testing.T) {
		s := &resumeSite{t: t, pipes: kit.NewPipeListener(), gate: &resumeGate{}}
		opt := server.NewEndOptions()
		opt.SetDelegate(s.gate)
		opt.SetResumeKeep(2 * time.Minute)
		if change != nil {
			change(opt)
		}
		var nl net.Listener = s.pipes
		if wrap != nil {
			nl = wrap(nl)
		}
		var err error
		s.l, err = server.NewListener(nl, opt)
		require.NoError(t, err)
		go func() {
			for {
				end, err := s.l.AcceptEnd()
				if err != nil {
					return
				}
				go func() {
					<-geminio.Done(end)
					end.Close()
				}()
			}
		}()
		defer s.l.Close()
		test(t, s)
	})
}

func (s *resumeSite) stats() server.ResumeStats {
	synctest.Wait()
	return s.l.(server.ResumeStatser).ResumeStats()
}

// ask makes a connection from a host and sends a Conn. It returns the answer.
func (s *resumeSite) ask(host string, resume *packet.Resume) (net.Conn, packet.ConnAck) {
	s.t.Helper()
	near, far := net.Pipe()
	require.NoError(s.t, s.pipes.Give(addressedConn{far, host}))
	return near, s.askOver(near, resume)
}

func (s *resumeSite) askOver(nc net.Conn, resume *packet.Resume) packet.ConnAck {
	s.t.Helper()
	own := offer()
	own.Log, own.Features = 8<<20, []string{packet.FeatureResume}
	_, err := nc.Write(hello(s.t, packet.Conn{PacketID: 1, Settings: &own, Resume: resume}))
	require.NoError(s.t, err)
	ack, err := readAck(nc)
	require.NoError(s.t, err)
	return ack
}

// prove returns a valid request to resume the session of a ticket.
func prove(ticket *packet.Ticket, attempt, received uint64) *packet.Resume {
	return &packet.Resume{
		ID: ticket.ID, Attempt: attempt, Received: received,
		Proof: packet.Proof(ticket.Secret, packet.RoleClient, ticket.ID, attempt, received),
	}
}

// Without the secret of a ticket a session cannot be resumed, and nothing changes for it. A
// handshake that was recorded is refused.
func TestTicketsThatAreStolenInPartOrReplayed(t *testing.T) {
	onResumeSite(t, nil, nil, func(t *testing.T, s *resumeSite) {
		victim, ack := s.ask("10.0.0.1", nil)
		ticket := ack.Ticket
		require.NotNil(t, ticket)
		go io.Copy(io.Discard, victim)
		for name, r := range map[string]*packet.Resume{
			"the id alone":     {ID: ticket.ID, Attempt: 1, Proof: make([]byte, packet.ProofLen)},
			"another secret":   prove(&packet.Ticket{ID: ticket.ID, Secret: make([]byte, packet.SecretLen)}, 1, 0),
			"the wrong role":   {ID: ticket.ID, Attempt: 1, Proof: packet.Proof(ticket.Secret, packet.RoleServer, ticket.ID, 1, 0)},
			"another attempt":  {ID: ticket.ID, Attempt: 2, Proof: prove(ticket, 1, 0).Proof},
			"another position": {ID: ticket.ID, Attempt: 1, Received: 1, Proof: prove(ticket, 1, 0).Proof},
			"an unknown id":    prove(&packet.Ticket{ID: make([]byte, packet.TicketIDLen), Secret: ticket.Secret}, 1, 0),
		} {
			nc, ack := s.ask("10.6.6.6", r)
			assert.False(t, ack.Refused, name)
			assert.Nil(t, ack.Resumed, name)
			assert.Nil(t, ack.Ended, name)
			assert.NotNil(t, ack.Ticket, name)
			nc.Close()
		}
		assert.Zero(t, s.stats().Resumes)
		assert.Zero(t, s.gate.resumed.Load())
		victim.Close()
		synctest.Wait()
		good := prove(ticket, 5, 0)
		nc, ack := s.ask("10.0.0.1", good)
		require.NotNil(t, ack.Resumed, "the session has not changed")
		go io.Copy(io.Discard, nc)
		for _, old := range []*packet.Resume{good, prove(ticket, 4, 0)} {
			_, ack = s.ask("10.6.6.6", old)
			assert.True(t, ack.Refused, "a replayed attempt")
		}
		assert.EqualValues(t, 1, s.stats().Resumes)
		nc.Close()
	})
}

// A session that began over TLS is not resumed without it.
func TestTicketOfTLSWithoutTLS(t *testing.T) {
	plain := make(chan struct{}, 1)
	wrap := func(l net.Listener) net.Listener {
		return wrappedListener{l, func(nc net.Conn) net.Conn {
			select {
			case <-plain:
				return nc
			default:
				return tls.Server(nc, kit.ServerTLS())
			}
		}}
	}
	onResumeSite(t, nil, wrap, func(t *testing.T, s *resumeSite) {
		near, far := net.Pipe()
		require.NoError(t, s.pipes.Give(addressedConn{far, "10.0.0.1"}))
		secure := tls.Client(near, kit.ClientTLS())
		ack := s.askOver(secure, nil)
		require.NotNil(t, ack.Ticket)
		near.Close()
		synctest.Wait()
		plain <- struct{}{}
		other, fresh := s.ask("10.0.0.1", prove(ack.Ticket, 1, 0))
		defer other.Close()
		assert.False(t, fresh.Refused)
		assert.Nil(t, fresh.Resumed)
		assert.Nil(t, fresh.Ended)
		assert.Equal(t, 1, s.stats().Interrupted, "the session is as it was")
		near, far = net.Pipe()
		require.NoError(t, s.pipes.Give(addressedConn{far, "10.0.0.1"}))
		secure = tls.Client(near, kit.ClientTLS())
		assert.NotNil(t, s.askOver(secure, prove(ack.Ticket, 2, 0)).Resumed)
		near.Close()
	})
}

// wrappedListener wraps the connections of a listener.
type wrappedListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrappedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(nc), nil
}

// An impossible position ends the session, and the client gets a fresh connection.
func TestPositionsThatCannotBe(t *testing.T) {
	onResumeSite(t, nil, nil, func(t *testing.T, s *resumeSite) {
		nc, ack := s.ask("10.0.0.1", nil)
		nc.Close()
		synctest.Wait()
		nc, fresh := s.ask("10.0.0.1", prove(ack.Ticket, 1, 1<<40))
		assert.Nil(t, fresh.Resumed)
		require.NotNil(t, fresh.Ended)
		assert.NotNil(t, fresh.Ticket)
		nc.Close()
		nc, fresh = s.ask("10.0.0.1", prove(ack.Ticket, 2, 0))
		assert.Nil(t, fresh.Resumed, "the session has ended")
		nc.Close()
	})
}

// A client that its authentication no longer allows does not return, and its attempts do not
// keep its session.
func TestAttemptsThatAreRefusedKeepNothing(t *testing.T) {
	onResumeSite(t, nil, nil, func(t *testing.T, s *resumeSite) {
		nc, ack := s.ask("10.0.0.1", nil)
		nc.Close()
		synctest.Wait()
		text := "your token was revoked"
		s.gate.refusal.Store(&text)
		for i := range 13 {
			time.Sleep(9 * time.Second)
			_, refused := s.ask("10.0.0.1", prove(ack.Ticket, uint64(i+1), 0))
			assert.True(t, refused.Refused)
			assert.Equal(t, text, refused.Error)
			assert.Equal(t, 1, s.stats().Interrupted)
		}
		time.Sleep(4 * time.Second)
		assert.Zero(t, s.stats().Interrupted)
		assert.EqualValues(t, 1, s.stats().Expired)
		assert.Zero(t, s.gate.resumed.Load())
	})
}

// Clients that connect and break their connections make the server keep no more sessions
// than it is told to, and evict only their own.
func TestFloodOfInterruptedSessions(t *testing.T) {
	const most, clients = 50, 400
	limit := func(opt *server.EndOptions) { opt.SetResumeLimits(most, 0) }
	onResumeSite(t, limit, nil, func(t *testing.T, s *resumeSite) {
		nc, honest := s.ask("10.0.0.1", nil)
		nc.Close()
		before := measure()
		for range clients {
			nc, ack := s.ask("10.6.6.6", nil)
			require.NotNil(t, ack.Ticket)
			nc.Close()
			assert.LessOrEqual(t, s.stats().Interrupted, most)
		}
		stats := s.stats()
		assert.Equal(t, most, stats.Interrupted)
		assert.EqualValues(t, clients+1-most, stats.Evicted)
		before.wantLeft(t, 2*most*connHeap, 2*most+8, "interrupted sessions")
		nc, ack := s.ask("10.0.0.1", prove(honest.Ticket, 1, 0))
		assert.NotNil(t, ack.Resumed, "the session of another host is kept")
		nc.Close()
	})
}

// What interrupted Ends hold, such as messages that were not received and names of methods,
// counts against the limit of bytes.
func TestBytesOfInterruptedSessions(t *testing.T) {
	const most = 4 << 20
	for name, send := range map[string]func(b []byte, i int) []byte{
		"messages": func(b []byte, i int) []byte { return message(b, 1, uint64(i+1), make([]byte, 4<<10)...) },
		"methods": func(b []byte, i int) []byte {
			return frame(b, packet.TypeRegister, 0, 1, uint64(i+1), fmt.Appendf(nil, "%0900d", i))
		},
	} {
		t.Run(name, func(t *testing.T) {
			limit := func(opt *server.EndOptions) { opt.SetResumeLimits(0, most) }
			onResumeSite(t, limit, nil, func(t *testing.T, s *resumeSite) {
				nc, honest := s.ask("10.0.0.1", nil)
				nc.Close()
				for range 40 {
					nc, ack := s.ask("10.6.6.6", nil)
					go io.Copy(io.Discard, nc)
					n := 0
					for size := 0; size < 300<<10 && n < int(ack.Settings.Messages)/(5<<10) || name == "methods" && n < 400; n++ {
						b := send(nil, n)
						size += len(b)
						nc.Write(b)
					}
					synctest.Wait()
					nc.Close()
					assert.LessOrEqual(t, s.stats().HeldBytes, most)
				}
				assert.NotZero(t, s.stats().HeldBytes)
				if name == "methods" {
					assert.NotZero(t, s.stats().Evicted)
				}
				nc, ack := s.ask("10.0.0.1", prove(honest.Ticket, 1, 0))
				assert.NotNil(t, ack.Resumed)
				nc.Close()
			})
		})
	}
}

// A client that reads and never confirms makes the server keep no more than its buffer,
// loses its connection, and its session in the end.
func TestClientThatConfirmsNothing(t *testing.T) {
	const buffer = 128 << 10
	small := func(opt *server.EndOptions) { opt.SetResumeBuffer(buffer) }
	onResumeSite(t, small, nil, func(t *testing.T, s *resumeSite) {
		nc, ack := s.ask("10.6.6.6", nil)
		go io.Copy(io.Discard, nc)
		// Each call of a method that does not exist is answered.
		for i := range 3000 {
			_, err := nc.Write(request(nil, 1, uint64(i+1), fmt.Sprintf("%0100d", i)))
			if err != nil {
				break
			}
		}
		assert.LessOrEqual(t, s.stats().LogBytes, uint64(buffer+64<<10))
		time.Sleep(2 * time.Minute)
		nc, again := s.ask("10.6.6.6", prove(ack.Ticket, 1, 0))
		_ = again
		go io.Copy(io.Discard, nc)
		time.Sleep(5 * time.Minute)
		stats := s.stats()
		assert.Zero(t, stats.LogBytes)
		assert.Zero(t, stats.Interrupted)
		nc.Close()
	})
}

// While ConnResumed of a session runs, its client makes attempt after attempt to resume the
// session. The server keeps few of them, whether the client waits for the answers or not, and
// the session can be resumed when ConnResumed has returned.
func TestAttemptsWhileTheDelegateThinks(t *testing.T) {
	onResumeSite(t, nil, nil, func(t *testing.T, s *resumeSite) {
		nc, ack := s.ask("10.0.0.1", nil)
		nc.Close()
		synctest.Wait()
		hang := make(chan struct{})
		s.gate.hang.Store(&hang)
		own := offer()
		own.Log, own.Features = 8<<20, []string{packet.FeatureResume}
		before := measure()
		for i := range 500 {
			near, far := net.Pipe()
			require.NoError(t, s.pipes.Give(addressedConn{far, "10.0.0.1"}))
			near.Write(hello(t, packet.Conn{PacketID: 1, Settings: &own, Resume: prove(ack.Ticket, uint64(i+1), 0)}))
			if i%2 == 0 {
				go io.Copy(io.Discard, near)
			}
			synctest.Wait()
			near.Close()
		}
		synctest.Wait()
		before.wantLeft(t, 1<<20, 40, "attempts that were given up")
		s.gate.hang.Store(nil)
		close(hang)
		synctest.Wait()
		nc, ack = s.ask("10.0.0.1", prove(ack.Ticket, 1000, 0))
		assert.NotNil(t, ack.Resumed)
		assert.Less(t, s.gate.resumed.Load(), int64(20))
		nc.Close()
	})
}
