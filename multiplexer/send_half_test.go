package multiplexer

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/kit"
)

// newTestSendHalf returns a half that events have led to the state.
func newTestSendHalf(t *testing.T, state sendState) *sendHalf {
	h := new(sendHalf)
	for _, ev := range map[sendState][]event{
		sendReady:  nil,
		sendOpen:   {evAccept},
		sendEnding: {evAccept, evCloseWrite},
		sendCut:    {evAccept, evCloseWrite, evWriteCut},
		sendEnded:  {evAccept, evCloseWrite, evFinSent},
	}[state] {
		h.on(ev)
	}
	require.Equal(t, state, h.state)
	return h
}

// Each event leads where sendTable says, from each state.
func TestSendHalfFollowsItsTable(t *testing.T) {
	for state := range sendStates {
		for ev := range events {
			h := newTestSendHalf(t, state)
			h.on(ev)
			want := sendTable[state][ev]
			if want == sendReady {
				want = state
			}
			assert.Equal(t, want, h.state, "%v, then %v", state, ev)
		}
	}
}

// Before the dialogue is open, Write fails as it does after Close. The error of the end
// comes before that of the deadline, and the first error stays.
func TestSendHalfErrors(t *testing.T) {
	h := newTestSendHalf(t, sendReady)
	assert.Equal(t, net.ErrClosed, h.writable())
	h.on(evAccept)
	assert.NoError(t, h.writable())

	w := h.makeWriters(new(sync.Mutex))
	assert.Same(t, w, h.makeWriters(nil), "the writers of a second call")
	w.deadline = w.deadline.renew(time.Now().Add(-1), w.cond.L, h.wake)
	assert.Equal(t, os.ErrDeadlineExceeded, h.writable())
	assert.Equal(t, os.ErrDeadlineExceeded, h.deadlineErr())

	first := errors.New("the first error")
	h.fail(first)
	h.fail(net.ErrClosed)
	assert.Equal(t, first, h.writable())
}

// A Write is under way while it has its turn, and while it waits for it.
func TestSendHalfWritesUnderWay(t *testing.T) {
	h := newTestSendHalf(t, sendOpen)
	assert.False(t, h.underWay())
	assert.Nil(t, h.lent())
	h.writing = true
	assert.True(t, h.underWay())

	w := h.makeWriters(new(sync.Mutex))
	w.waiting, w.lent = 1, []byte("lent")
	h.writing = false
	assert.True(t, h.underWay(), "while a Write waits for its turn")
	assert.Equal(t, "lent", string(h.lent()))
	w.waiting = 0
	assert.False(t, h.underWay())
}

// fail wakes all Writes that wait.
func TestSendHalfWakesItsWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		h := newTestSendHalf(t, sendOpen)
		h.wake() // while no Write waits
		var all []<-chan error
		for range 3 {
			all = append(all, kit.Start(func() error {
				mu.Lock()
				defer mu.Unlock()
				for h.err == nil {
					h.makeWriters(&mu).cond.Wait()
				}
				return h.err
			}))
		}
		synctest.Wait()
		mu.Lock()
		h.fail(net.ErrClosed)
		mu.Unlock()
		for _, waits := range all {
			assert.Equal(t, net.ErrClosed, <-waits)
		}
	})
}
