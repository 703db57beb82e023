package server_test

import (
	"context"
	"fmt"
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
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// switchingDialer dials a listener in memory, which a test can replace.
type switchingDialer struct {
	mu   sync.Mutex
	nl   *kit.PipeListener
	last net.Conn
}

func (w *switchingDialer) set(nl *kit.PipeListener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nl = nl
}

func (w *switchingDialer) get() *kit.PipeListener {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nl
}

// dial is a client.Dialer.
func (w *switchingDialer) dial() (net.Conn, error) {
	nc, err := w.get().Dial()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = nc
	return nc, err
}

// cut breaks the last connection.
func (w *switchingDialer) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last.Close()
}

// A client that reconnects gets the id that the library has chosen for it again, and no other
// client gets it, even if the server has forgotten the client or was restarted.
func TestRetryEndKeepsItsID(t *testing.T) {
	for _, policy := range []server.DuplicatePolicy{server.DuplicateReplaces, server.DuplicateRefused, server.DuplicateAllowed} {
		for _, how := range []string{"cut", "forgotten", "another server"} {
			t.Run(fmt.Sprint(policy, how), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					opt := server.NewEndOptions()
					opt.SetDuplicateID(policy)
					opt.SetResumeKeep(0)
					w := new(switchingDialer)
					move := func() server.Listener {
						nl, l := newPipeServer(t, opt)
						w.set(nl)
						return l
					}
					l := move()
					end, err := client.NewRetryEndWithDialer(w.dial)
					require.NoError(t, err)
					defer end.Close()
					id := end.ClientID()
					strangers := func() {
						t.Helper()
						for _, session := range []string{"", "theirs"} {
							nc, err := w.get().Dial()
							require.NoError(t, err)
							_, got, err := dialHandshake(t, nc, rawHello{clientID: id, session: session})
							require.NoError(t, err)
							assert.NotEqual(t, id, got)
							nc.Close()
							synctest.Wait()
						}
					}
					strangers()
					switch how {
					case "cut":
						w.cut()
					case "forgotten":
						opt.SetSessionKeep(1)
						require.NoError(t, l.Close())
						l = move()
						w.cut()
						require.NoError(t, end.Register(context.Background(), "m", rig.Echo))
						w.cut()
					case "another server":
						require.NoError(t, l.Close())
						l = move()
						w.cut()
					}
					require.NoError(t, end.Register(context.Background(), "m", rig.Echo))
					assert.Equal(t, id, end.ClientID())
					strangers()
					require.NoError(t, end.Register(context.Background(), "n", rig.Echo))
					assert.EqualValues(t, map[string]int{"cut": 2, "forgotten": 3, "another server": 2}[how], end.(*client.RetryEnd).Stats().Connections)
					require.NoError(t, l.Close())
				})
			})
		}
	}
}

// grantingDelegate grants every client the id that it asks for.
type grantingDelegate struct {
	*delegate.UnimplementedDelegate
}

func (grantingDelegate) GetClientID(wanted uint64, _ []byte) (uint64, error) { return wanted, nil }

// If GetClientID of the delegate returns the wanted id, the client gets it without a proof.
func TestDelegateGrantsAnID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetDelegate(grantingDelegate{})
		nl, l := newPipeServer(t, opt)
		defer l.Close()
		first, id := dialClient(t, nl, rawHello{})
		defer first.nc.Close()
		require.NotZero(t, id, "0 leaves it to the library")
		second, got := dialClient(t, nl, rawHello{clientID: id, session: "theirs"})
		defer second.nc.Close()
		assert.Equal(t, id, got)
		time.Sleep(time.Minute)
		_, err := first.nc.Write(rawMessage(1, 0, 1, "replaced"))
		assert.Error(t, err)
	})
}

func TestMergeEndOptions(t *testing.T) {
	methods := []string{"a", "b"}
	first, second := server.NewEndOptions(), server.NewEndOptions()
	first.SetWaitRemoteRPCs(methods...)
	first.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: rig.Echo})
	first.SetBufferSize(1, 2)
	first.SetDuplicateID(server.DuplicateRefused)
	first.SetSessionKeep(time.Minute)
	first.SetRetryAfter(time.Second)
	second.SetBufferSize(-1, 3)
	second.SetDuplicateID(server.DuplicateReplaces) // is 0, and so not set
	second.SetSessionKeep(time.Hour)
	got := server.MergeEndOptions(first, nil, second)
	assert.Equal(t, 1, got.ReadBufferSize, "a negative size is not set")
	assert.Equal(t, 3, got.WriteBufferSize)
	assert.Equal(t, server.DuplicateRefused, got.DuplicateID)
	assert.Equal(t, time.Hour, got.SessionKeep)
	assert.Equal(t, time.Second, got.RetryAfter)
	methods[0], first.LocalMethods[0].Method = "x", "x"
	assert.Equal(t, []string{"a", "b"}, got.RemoteMethods, "RemoteMethods after a change of the original")
	assert.Equal(t, "m", got.LocalMethods[0].Method, "LocalMethods after a change of the original")
}

func TestOptionsOutOfRange(t *testing.T) {
	for want, set := range map[string]func(*server.EndOptions){
		"SessionKeep of -1ns":             func(opt *server.EndOptions) { opt.SetSessionKeep(-1) },
		"DuplicateID of 7":                func(opt *server.EndOptions) { opt.SetDuplicateID(7) },
		"DuplicateID of -1":               func(opt *server.EndOptions) { opt.SetDuplicateID(-1) },
		"RetryAfter of 1ns":               func(opt *server.EndOptions) { opt.SetRetryAfter(1) },
		"RetryAfter of 1193h2m47.296s is": func(opt *server.EndOptions) { opt.SetRetryAfter(1 << 32 * time.Millisecond) },
		"Heartbeat of -1ns":               func(opt *server.EndOptions) { opt.SetHeartbeat(-1) },
	} {
		opt := server.NewEndOptions()
		set(opt)
		nl := kit.NewPipeListener()
		l, err := server.NewListener(nl, opt)
		assert.Nil(t, l, want)
		assert.ErrorContains(t, err, want)
		_, err = nl.Dial()
		assert.Error(t, err, "%s: the listener is closed", want)
	}
}

// choosingDelegate returns one id for all clients.
type choosingDelegate struct {
	*delegate.UnimplementedDelegate
	id uint64
}

func (d choosingDelegate) GetClientID(uint64, []byte) (uint64, error) { return d.id, nil }

func TestIDsOfClients(t *testing.T) {
	for _, test := range []struct {
		name                     string
		delegate, option, wanted uint64
		want                     uint64 // 0: one that the library has chosen
	}{
		{"the delegate decides", 1, 2, 3, 1},
		{"the option decides", 0, 2, 3, 2},
		{"the client decides", 0, 0, 3, 3},
		{"the library decides", 0, 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opt := server.NewEndOptions()
				opt.SetDelegate(choosingDelegate{id: test.delegate})
				opt.SetClientID(test.option)
				nl, l := newPipeServer(t, opt)
				defer l.Close()
				r, id := dialClient(t, nl, rawHello{clientID: test.wanted})
				defer r.nc.Close()
				if test.want == 0 {
					assert.Greater(t, id, uint64(1000), "an id that cannot be guessed")
					assert.Less(t, id, uint64(1)<<63)
					return
				}
				assert.Equal(t, test.want, id)
			})
		})
	}
}

// TestIDOfTheOptionIsForAll has two clients at the same time.
func TestIDOfTheOptionIsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetClientID(7)
		opt.SetDuplicateID(server.DuplicateRefused)
		nl, l := newPipeServer(t, opt)
		defer l.Close()
		for range 2 {
			r, id := dialClient(t, nl, rawHello{})
			defer r.nc.Close()
			assert.EqualValues(t, 7, id)
		}
	})
}
