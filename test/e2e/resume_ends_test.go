package e2e

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
)

// restart starts the server anew, in place of the one that was there.
func (f *resumeTest) restart() {
	old := f.l
	f.listen()
	go old.Close()
	f.mend()
}

// refuseSome is a delegate of the client that refuses connections by their number.
type refuseSome struct {
	*delegate.UnimplementedDelegate
	refuse []int

	mu     sync.Mutex
	online int
}

func (r *refuseSome) ConnOnline(delegate.ConnDescriber) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.online++; slices.Contains(r.refuse, r.online) {
		return errors.New("not this one")
	}
	return nil
}

// A connection that the client's ConnOnline refuses is not resumed, and neither side keeps its
// session.
func TestRefusedConnectionIsNotResumed(t *testing.T) {
	co := client.NewEndOptions()
	d := &refuseSome{refuse: []int{2}}
	co.SetDelegate(d)
	withSession(t, co, nil, func(t *testing.T, f *resumeTest) {
		f.cut(true)
		f.restart()
		time.Sleep(20 * time.Second)
		stats := f.c.Stats()
		assert.True(t, stats.Connected)
		assert.Zero(t, stats.Resumes)
		d.mu.Lock()
		assert.Equal(t, 3, d.online, "the third connection is approved")
		d.mu.Unlock()
		assert.Equal(t, []string{"online", "offline", "online"}, lastOf(f.told.take(), 3))
		assert.Zero(t, f.serverStats().Interrupted)
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		co := client.NewEndOptions()
		co.SetDelegate(&refuseSome{refuse: []int{1}})
		f.told.take()
		_, err := client.NewRetryEndWithDialer(f.dial, co)
		assert.ErrorContains(t, err, "not this one")
		assert.Equal(t, []string{"online", "offline"}, f.told.take())
		assert.Zero(t, f.serverStats().Interrupted)
	})
}

// Close of an interrupted End dials to deliver the rest. A server that was started anew keeps no
// session of that connection.
func TestCloseAfterTheServerWasStartedAnew(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		near, err := f.c.OpenStream()
		require.NoError(t, err)
		f.cut(true)
		_, err = near.Write([]byte("the last words"))
		require.NoError(t, err)
		f.restart()
		f.told.take()
		require.NoError(t, f.c.Close())
		synctest.Wait()
		assert.Equal(t, []string{"online", "offline"}, lastOf(f.told.take(), 2))
		stats := f.serverStats()
		assert.EqualValues(t, 1, stats.Unknown)
		assert.Zero(t, stats.Interrupted)
	})
}
