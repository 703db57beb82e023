package server_test

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
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// NewEndWithConn returns an End of a client that closes right after the handshake too.
func TestEndOfClientThatLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: rig.Echo})
		near, far := net.Pipe()
		defer near.Close()
		type result struct {
			end geminio.End
			err error
		}
		made := kit.Start(func() result {
			end, err := server.NewEndWithConn(far, opt)
			return result{end, err}
		})
		r, _, err := dialHandshake(t, near, rawHello{})
		require.NoError(t, err)
		sendWork(r)
		r.send(rawClose(0, ""))
		got := <-made
		require.NoError(t, got.err)
		wantWork(t, got.end, false)
	})
}

func TestNewEndWithConnFails(t *testing.T) {
	refusing := errors.New("not you")
	for name, test := range map[string]struct {
		set    func(*server.EndOptions)
		client func(t *testing.T, near net.Conn)
		check  func(t *testing.T, err error)
	}{
		"options that contradict": {
			func(opt *server.EndOptions) { opt.SetMaxStreams(-1) },
			func(*testing.T, net.Conn) {},
			func(t *testing.T, err error) { assert.ErrorContains(t, err, "MaxStreams of -1") },
		},
		"a client that is silent": {
			func(*server.EndOptions) {},
			func(*testing.T, net.Conn) {},
			func(t *testing.T, err error) { assert.ErrorIs(t, err, geminio.ErrHandshakeTimeout) },
		},
		"a client that registers nothing": {
			func(opt *server.EndOptions) { opt.SetWaitRemoteRPCs("m") },
			func(t *testing.T, near net.Conn) {
				_, _, err := dialHandshake(t, near, rawHello{})
				assert.NoError(t, err)
			},
			func(t *testing.T, err error) { assert.ErrorContains(t, err, `waiting for the peer to register "m"`) },
		},
		"the delegate refuses": {
			func(opt *server.EndOptions) { opt.SetDelegate(refusingDelegate{err: refusing}) },
			func(t *testing.T, near net.Conn) {
				_, _, err := dialHandshake(t, near, rawHello{})
				var refused *geminio.RefusedError
				if assert.ErrorAs(t, err, &refused) {
					assert.Equal(t, "not you", refused.Text)
				}
			},
			func(t *testing.T, err error) { assert.ErrorIs(t, err, refusing) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				opt := server.NewEndOptions()
				test.set(opt)
				clientDone := kit.Start(func() error { test.client(t, near); return nil })
				start := time.Now()
				end, err := server.NewEndWithConn(far, opt)
				assert.Nil(t, end)
				test.check(t, err)
				assert.LessOrEqual(t, time.Since(start), 20*time.Second, "the time of the handshake and for closing")
				<-clientDone
				_, err = far.Write(nil)
				assert.Error(t, err, "the connection is closed")
				near.Close()
			})
		})
	}
}

// refusingDelegate refuses every client.
type refusingDelegate struct {
	*delegate.UnimplementedDelegate
	err error
}

func (d refusingDelegate) ConnOnline(delegate.ConnDescriber) error { return d.err }

func TestNewEndWithConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		clientOpt, serverOpt := client.NewEndOptions(), server.NewEndOptions()
		clientOpt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "of the client", RPC: rig.Echo})
		clientOpt.SetWaitRemoteRPCs("of the server")
		clientOpt.SetMeta([]byte("meta"))
		serverOpt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "of the server", RPC: rig.Echo})
		serverOpt.SetWaitRemoteRPCs("of the client")
		dialed := kit.Start(func() geminio.End {
			end, err := client.NewEndWithConn(near, clientOpt)
			assert.NoError(t, err)
			return end
		})
		peer, err := server.NewEndWithConn(far, serverOpt)
		require.NoError(t, err)
		end := <-dialed
		assert.IsType(t, (*server.ServerEnd)(nil), peer)
		assert.Equal(t, geminio.RecipientSide, peer.Side())
		assert.Equal(t, "meta", string(peer.Meta()))
		assert.Equal(t, end.ClientID(), peer.ClientID())
		_, err = peer.Call(t.Context(), "of the client", peer.NewRequest(nil))
		assert.NoError(t, err)
		_, err = end.Call(t.Context(), "of the server", end.NewRequest(nil))
		assert.NoError(t, err)
		require.NoError(t, peer.Close())
		<-geminio.Done(end)
	})
}

// TestReplace ends an End as another connection of its client would do, with and without a connection.
func TestReplace(t *testing.T) {
	for name, interrupted := range map[string]bool{"connected": false, "interrupted": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := geminiotest.NewNetwork(t)
				l, err := server.NewListener(n.Listen())
				require.NoError(t, err)
				defer l.Close()
				opt := client.NewEndOptions()
				opt.SetStopOnRefusal()
				end, err := client.NewRetryEndWithDialer(n.Dial, opt)
				require.NoError(t, err)
				defer end.Close()
				accepted, err := l.AcceptEnd()
				require.NoError(t, err)
				if interrupted {
					n.SetRefuse(true)
					n.Cut()
					synctest.Wait()
					require.Equal(t, 1, l.(*server.Server).ResumeStats().Interrupted)
				}
				accepted.(*server.ServerEnd).Replace()
				<-geminio.Done(accepted)
				assert.ErrorIs(t, geminio.Cause(accepted), geminio.ErrReplaced)
				synctest.Wait()
				assert.Zero(t, l.(*server.Server).ResumeStats().Interrupted)
				if !interrupted {
					<-geminio.Done(end)
					assert.ErrorIs(t, geminio.Cause(end), geminio.ErrReplaced)
				}
			})
		})
	}
}

// TestSessionFunc cuts a session and resumes it: the function of SetSessionFunc sees both states.
func TestSessionFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := geminiotest.NewNetwork(t)
		l, err := server.NewListener(n.Listen())
		require.NoError(t, err)
		defer l.Close()
		end, err := client.NewRetryEndWithDialer(n.Dial)
		require.NoError(t, err)
		defer end.Close()
		accepted, err := l.AcceptEnd()
		require.NoError(t, err)
		var mu sync.Mutex
		var states []geminio.EndState
		accepted.(*server.ServerEnd).SetSessionFunc(func() {
			s, _ := geminio.SnapshotOf(accepted)
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s.State)
		})
		n.SetRefuse(true)
		n.Cut()
		synctest.Wait()
		assert.Equal(t, []geminio.EndState{geminio.EndInterrupted}, states)
		n.SetRefuse(false)
		_, err = geminio.Ping(t.Context(), end)
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, []geminio.EndState{geminio.EndInterrupted, geminio.EndConnected}, states)
		accepted.(*server.ServerEnd).SetSessionFunc(nil)
		n.Cut()
		_, err = geminio.Ping(t.Context(), end)
		require.NoError(t, err)
		assert.Len(t, states, 2, "the function was removed")
	})
}
