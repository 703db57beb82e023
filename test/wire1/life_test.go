package wire1

import (
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/oldpeer"
)

// An End with SetRefuseWireV1 refuses a peer of wire 1. The errors of both sides state the
// versions.
func TestRefuseWireV1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		opt := server.NewEndOptions()
		opt.SetRefuseWireV1()
		done := make(chan error, 1)
		go func() {
			_, err := server.NewEndWithConn(near, opt)
			done <- err
		}()
		_, err := oldpeer.Dial(far, oldpeer.Config{})
		assert.ErrorContains(t, err, "the client speaks wire 1 only, this server wire 2")
		assert.ErrorIs(t, <-done, geminio.ErrVersion)
	})
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		opt := client.NewEndOptions()
		opt.SetRefuseWireV1()
		done := make(chan error, 1)
		go func() {
			_, err := client.NewEndWithConn(near, opt)
			done <- err
		}()
		p, err := oldpeer.Accept(far, oldpeer.Config{})
		require.NoError(t, err)
		err = <-done
		assert.ErrorIs(t, err, geminio.ErrVersion)
		assert.ErrorContains(t, err, "the server speaks wire 1 only, this client wire 2")
		<-p.Over()
		p.Cut()
	})
}

// The snapshot of an End says that its peer speaks wire 1. Ping cannot reach the peer.
func TestSnapshotWithAnOldPeer(t *testing.T) {
	for _, side := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := connect(t, &config{server: side})
			defer s.close()
			v, ok := geminio.SnapshotOf(s.end)
			assert.True(t, ok)
			assert.Equal(t, 1, v.Wire)
			assert.Equal(t, geminio.EndConnected, v.State)
			_, err := geminio.Ping(s.ctx, s.end)
			assert.ErrorIs(t, err, errors.ErrUnsupported)
		})
	}
}

// refusingDelegate is a delegate that refuses all.
type refusingDelegate struct {
	*delegate.UnimplementedDelegate
}

func (refusingDelegate) ConnOnline(delegate.ConnDescriber) error { return errors.New("not today") }

func TestRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		opt := server.NewEndOptions()
		opt.SetDelegate(refusingDelegate{})
		done := make(chan error, 1)
		go func() {
			_, err := server.NewEndWithConn(near, opt)
			done <- err
		}()
		_, err := oldpeer.Dial(far, oldpeer.Config{})
		assert.EqualError(t, err, "not today")
		assert.ErrorContains(t, <-done, "not today")
	})
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		go oldpeer.Accept(far, oldpeer.Config{Refuse: "not today"})
		_, err := client.NewEndWithConn(near)
		var refused *geminio.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, "not today", refused.Text)
	})
}

// delegateLog is a delegate that records its calls.
type delegateLog struct {
	*delegate.UnimplementedDelegate
	mu   sync.Mutex
	told []string
}

func (r *delegateLog) note(what string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, what)
	return nil
}

func (r *delegateLog) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told
}

func (r *delegateLog) ConnOnline(delegate.ConnDescriber) error  { return r.note("online") }
func (r *delegateLog) ConnOffline(delegate.ConnDescriber) error { return r.note("offline") }
func (r *delegateLog) Heartbeat(delegate.ConnDescriber) error   { return r.note("heartbeat") }
func (r *delegateLog) DialogueOnline(delegate.DialogueDescriber) error {
	return r.note("stream")
}
func (r *delegateLog) DialogueOffline(delegate.DialogueDescriber) error {
	return r.note("stream gone")
}
func (r *delegateLog) RemoteRegistration(method string, _, _ uint64) { r.note("method " + method) }
func (r *delegateLog) EndReOnline(delegate.ClientDescriber)          { r.note("again") }

func TestDelegate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &delegateLog{}
		c := &config{server: true}
		c.serve.Delegate = r
		s := connect(t, c)
		s.peer.Register(t.Context(), "m")
		session, err := s.peer.Open(t.Context(), "", nil)
		require.NoError(t, err)
		s.accept()
		session.Dismiss(t.Context())
		time.Sleep(30 * time.Second)
		s.peer.Shut(t.Context())
		synctest.Wait()
		assert.Equal(t, []string{"online", "method m", "stream", "stream gone", "heartbeat", "offline"}, r.all())
		s.close()
	})
}

// A listener serves clients of both wires. An id belongs to one client, whatever its wire.
func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := kit.NewPipeListener()
		l, err := server.NewListener(pipes)
		require.NoError(t, err)
		dial := func() net.Conn {
			nc, err := pipes.Dial()
			require.NoError(t, err)
			return nc
		}
		old, err := oldpeer.Dial(dial(), oldpeer.Config{ClientID: 77})
		require.NoError(t, err)
		first, err := l.AcceptEnd()
		require.NoError(t, err)
		assert.EqualValues(t, 77, first.ClientID())

		opt := client.NewEndOptions()
		opt.SetClientID(77)
		end, err := client.NewEndWithConn(dial(), opt)
		require.NoError(t, err)
		second, err := l.AcceptEnd()
		require.NoError(t, err)
		<-old.Over()
		assert.ErrorIs(t, first.(*server.ServerEnd).Cause(), geminio.ErrReplaced)
		old.Cut()

		old, err = oldpeer.Dial(dial(), oldpeer.Config{ClientID: 77})
		require.NoError(t, err)
		third, err := l.AcceptEnd()
		require.NoError(t, err)
		assert.ErrorIs(t, second.(*server.ServerEnd).Cause(), geminio.ErrReplaced)
		end.Close()

		done := make(chan error, 1)
		go func() { done <- geminio.Shutdown(t.Context(), l) }()
		<-old.Over()
		assert.NoError(t, <-done)
		assert.EqualValues(t, 77, third.ClientID())
		old.Cut()
	})
}

// A RetryEnd reconnects to a server of wire 1, and to one of wire 2 that replaces it.
func TestRetryEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := kit.NewPipeListener()
		var mu sync.Mutex
		registered := make(map[string]int)
		old := func() *oldpeer.Peer {
			nc, err := pipes.Accept()
			require.NoError(t, err)
			p, err := oldpeer.Accept(nc, oldpeer.Config{ClientID: 77, Handle: echo, Sees: func(p wire1.Packet) {
				if p.Type == wire1.TypeRegister {
					mu.Lock()
					registered[string(p.Raw)]++
					mu.Unlock()
				}
			}})
			require.NoError(t, err)
			return p
		}
		first := make(chan *oldpeer.Peer, 1)
		go func() { first <- old() }()
		r := &delegateLog{}
		opt := client.NewEndOptions()
		opt.SetDelegate(r)
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "local", RPC: handler})
		end, err := client.NewRetryEndWithDialer(pipes.Dial, opt)
		require.NoError(t, err)
		resp, err := end.Call(t.Context(), "echo", end.NewRequest([]byte("hi")))
		require.NoError(t, err)
		assert.Equal(t, "old hi", string(resp.Data()))

		(<-first).Cut()
		go func() { first <- old() }()
		idempotent := options.Call()
		idempotent.SetIdempotent(true)
		_, err = end.Call(t.Context(), "echo", end.NewRequest(nil), idempotent)
		require.NoError(t, err)
		assert.NoError(t, end.Publish(t.Context(), end.NewMessage(nil)))
		synctest.Wait()
		mu.Lock()
		assert.Equal(t, map[string]int{"local": 2}, registered)
		mu.Unlock()
		assert.Equal(t, []string{"online", "offline", "online", "again"}, r.all())

		// The next server speaks wire 2.
		(<-first).Shut(t.Context())
		l, err := server.NewListener(pipes)
		require.NoError(t, err)
		newer, err := l.AcceptEnd()
		require.NoError(t, err)
		require.NoError(t, newer.Register(t.Context(), "echo", handler))
		resp, err = end.Call(t.Context(), "echo", end.NewRequest([]byte("hi")))
		require.NoError(t, err)
		assert.Equal(t, "new hi ", string(resp.Data()))
		resp, err = newer.Call(t.Context(), "local", newer.NewRequest([]byte("hi")))
		require.NoError(t, err)
		assert.Equal(t, "new hi ", string(resp.Data()))
		end.Close()
		l.Close()
		newer.Close()
	})
}
