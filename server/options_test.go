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

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// switchingDialer is a way to a server, which may be another one later.
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

// A client that reconnects has the id that the library has chosen for it again, and nobody
// else gets it, also when the server has forgotten the client, or was started anew.
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

// grantingDelegate grants every wish.
type grantingDelegate struct {
	*delegate.UnimplementedDelegate
}

func (grantingDelegate) GetClientID(wanted uint64, _ []byte) (uint64, error) { return wanted, nil }

// A delegate that grants a wish has decided, and is not asked for a proof.
func TestDelegateGrantsAnID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetDelegate(grantingDelegate{})
		nl, l := newPipeServer(t, opt)
		defer l.Close()
		nc, err := nl.Dial()
		require.NoError(t, err)
		defer nc.Close()
		_, id, err := dialHandshake(t, nc, rawHello{})
		require.NoError(t, err)
		require.NotZero(t, id, "0 leaves it to the library")
		other, err := nl.Dial()
		require.NoError(t, err)
		defer other.Close()
		_, got, err := dialHandshake(t, other, rawHello{clientID: id, session: "theirs"})
		require.NoError(t, err)
		assert.Equal(t, id, got)
		time.Sleep(time.Minute)
		_, err = nc.Write(rawMessage(1, 0, 1, "replaced"))
		assert.Error(t, err)
	})
}
