package multiplexer

import (
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// newTestRecvHalf returns a half with windows of 100 bytes that events have led to the state.
func newTestRecvHalf(t *testing.T, state recvState) *recvHalf {
	h := new(recvHalf)
	h.init(packet.Windows{Raw: 100, Messages: 100}, 1<<10)
	for _, ev := range map[recvState][]event{
		recvOpen:       nil,
		recvFin:        {evPeerFin},
		recvDiscard:    {evEnd},
		recvStopped:    {evCloseRead},
		recvStoppedFin: {evCloseRead, evPeerFin},
	}[state] {
		handle(h, ev)
	}
	require.Equal(t, state, h.state)
	return h
}

// handle calls the method for an event.
func handle(h *recvHalf, ev event) {
	switch ev {
	case evPeerFin:
		h.fin()
	case evEnd:
		h.end(net.ErrClosed)
	case evCloseRead:
		h.closeRead()
	}
}

// The method for each event leads where recvTable says, from each state.
func TestRecvHalfFollowsItsTable(t *testing.T) {
	for state := range recvStates {
		for ev := range events {
			h := newTestRecvHalf(t, state)
			handle(h, ev)
			want := recvTable[state][ev]
			if want == recvOpen {
				want = state
			}
			assert.Equal(t, want, h.state, "%v, then %v", state, ev)
		}
	}
}

// The state decides what the peer may still send, and whether CloseRead tells the peer.
func TestRecvHalfStates(t *testing.T) {
	for state, want := range map[recvState]struct {
		data bool // the peer may send raw bytes
		tell bool // CloseRead sends a Stop
		read bool // bytes that have arrived before can be read
	}{
		recvOpen:       {data: true, tell: true, read: true},
		recvFin:        {read: true},
		recvDiscard:    {data: true, read: true},
		recvStopped:    {data: true},
		recvStoppedFin: {},
	} {
		h := newTestRecvHalf(t, state)
		assert.NoError(t, h.begin(3, 0, true), "%v: the close flag without bytes", state)
		assert.Equal(t, want.data, h.begin(3, 0, false) == nil, "%v: a frame without flags", state)
		assert.Equal(t, want.data, h.begin(3, 1, true) == nil, "%v: a byte with the close flag", state)
		assert.Equal(t, !want.read, h.state.stopped(), "%v: stopped", state)
		assert.Equal(t, want.tell, h.closeRead(), "%v: CloseRead tells the peer", state)
	}
}

// Bytes that arrive are counted against the window.
func TestRecvHalfCountsBytes(t *testing.T) {
	h := newTestRecvHalf(t, recvOpen)
	require.NoError(t, h.begin(3, 60, false))
	assert.True(t, h.receivedSinceWrite)
	err := h.begin(3, 41, false)
	var violation *packet.Error
	require.ErrorAs(t, err, &violation, "bytes beyond the window")
	assert.EqualValues(t, 60, h.rx[packet.ClassRaw].held)
	assert.EqualValues(t, 200, h.windowSizes())
}

// The first error stays, and CloseRead discards the bytes that have arrived.
func TestRecvHalfKeepsItsFirstError(t *testing.T) {
	h := newTestRecvHalf(t, recvOpen)
	h.buf.Append([]byte("unread"))
	h.end(net.ErrClosed)
	assert.Equal(t, 6, h.buf.Len(), "bytes that arrived before the end")
	h.fin()
	h.closeRead()
	assert.Equal(t, net.ErrClosed, h.err)
	assert.Zero(t, h.buf.Len())
}

// A deadline does not concern Reads when no bytes can arrive any more.
func TestRecvHalfDeadline(t *testing.T) {
	h := newTestRecvHalf(t, recvOpen)
	assert.NoError(t, h.readable())
	r := h.makeReaders()
	assert.Same(t, r, h.makeReaders(), "the readers of a second call")
	r.deadline = r.deadline.renew(time.Now().Add(-1), &h.mu, h.wake)
	assert.Equal(t, os.ErrDeadlineExceeded, h.readable())
	h.fin()
	assert.NoError(t, h.readable())
	assert.Equal(t, os.ErrDeadlineExceeded, h.deadlineErr())
}

// Each event wakes a Read that waits for bytes.
func TestRecvHalfWakesItsReader(t *testing.T) {
	for _, ev := range []event{evPeerFin, evEnd, evCloseRead} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestRecvHalf(t, recvOpen)
			read := kit.Start(func() error {
				h.mu.Lock()
				defer h.mu.Unlock()
				_, err := h.await(make([]byte, 10))
				assert.False(t, h.waiting())
				return err
			})
			kit.Blocked(t, read)
			h.mu.Lock()
			assert.True(t, h.waiting())
			handle(h, ev)
			assert.NotNil(t, h.err)
			h.mu.Unlock()
			assert.NoError(t, <-read)
		})
	}
	assert.Equal(t, io.EOF, newTestRecvHalf(t, recvFin).err)
}
