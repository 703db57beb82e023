package multiplexer

import (
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// sendStatesIn are the states that the sending half can have in each state of the life.
var sendStatesIn = [lifeStates][]sendState{
	lifeNew:       {sendReady},
	lifeOffered:   {sendReady},
	lifeOpening:   {sendReady},
	lifeOpen:      {sendOpen, sendEnding, sendCut, sendEnded},
	lifeClosing:   {sendEnding, sendCut, sendEnded},
	lifeFinishing: {sendEnding, sendCut, sendEnded},
	lifeCloseSent: {sendEnded},
	lifeOverdue:   {sendEnded},
	lifeGone:      {sendEnded},
	lifeNotOpened: {sendEnded},
}

// inTable reports whether a dialogue in the state belongs into Mux.table.
func inTable(s lifeState) bool { return s != lifeNew && !s.ended() }

// dialogueIn returns a new dialogue in the given states, which m knows as far as they require.
// m.mu is held.
func dialogueIn(t *testing.T, m *Mux, life lifeState, send sendState) *Dialogue {
	d := m.newDialogue(0, packet.Open{})
	d.life, d.send.state = life, send
	switch life {
	case lifeNew:
		return d
	case lifeOffered:
		d.id = m.lastPeerID + 2
		m.lastPeerID = d.id
		d.slot = slotHeld
		m.streams.peer++
		m.streams.unaccepted++
	default:
		d.id = m.streams.nextID
		m.streams.nextID += 2
	}
	if inTable(life) {
		w, ok := m.windows.add(0)
		require.True(t, ok)
		d.initWindows(w)
		m.table.add(d)
		if life != lifeOffered {
			m.streams.local++
		}
	}
	d.send.writing = life == lifeOpen && send == sendCut // otherwise the life would not be open any more
	if send > sendOpen {
		d.send.err = net.ErrClosed
	}
	return d
}

// eventDrivers has a function for each event that does what leads to the event: it calls what
// the user of this package, the reading goroutine or the writer calls.
var eventDrivers = [events]func(t *testing.T, m *Mux, p *peer, d *Dialogue){
	evOpen: func(t *testing.T, m *Mux, p *peer, d *Dialogue) {
		if d.life == lifeNew { // Mux.Open is called once for a dialogue
			go m.Open(d)
		}
	},
	evPeerAccept: func(t *testing.T, m *Mux, p *peer, d *Dialogue) {
		m.peerAccepts(packet.Header{Type: packet.TypeAccept, Stream: d.id}, packet.Windows{Raw: 4 << 10, Messages: 4 << 10})
	},
	evPeerRefuse: func(t *testing.T, m *Mux, p *peer, d *Dialogue) {
		m.peerRefuses(packet.Header{Type: packet.TypeRefuse, Stream: d.id}, packet.Reason{Code: 7})
	},
	evGiveUp: func(t *testing.T, m *Mux, p *peer, d *Dialogue) {
		m.mu.Lock()
		defer m.unlockAndNotify()
		if d.life == lifeOpening { // Mux.Open has the same condition
			d.cancelOpen()
		}
	},
	evAccept:     func(t *testing.T, m *Mux, p *peer, d *Dialogue) { d.Accept(false) },
	evRefuse:     func(t *testing.T, m *Mux, p *peer, d *Dialogue) { d.Refuse(packet.Reason{Code: 7}) },
	evCloseWrite: func(t *testing.T, m *Mux, p *peer, d *Dialogue) { d.CloseWrite() },
	evWriteCut: func(t *testing.T, m *Mux, p *peer, d *Dialogue) {
		m.mu.Lock()
		if d.send.state == sendReady { // Write returns before it has its turn
			m.mu.Unlock()
			return
		}
		d.writeReturns(1)
	},
	evCloseRead: func(t *testing.T, m *Mux, p *peer, d *Dialogue) { d.CloseRead() },
	evClose:     func(t *testing.T, m *Mux, p *peer, d *Dialogue) { d.Close() },
	evReset:     func(t *testing.T, m *Mux, p *peer, d *Dialogue) { d.Reset(packet.Reason{Code: 7}) },
	evPeerFin: func(t *testing.T, m *Mux, p *peer, d *Dialogue) {
		d.recv.mu.Lock()
		defer d.recv.mu.Unlock()
		d.recv.fin()
	},
	evPeerStop: func(t *testing.T, m *Mux, p *peer, d *Dialogue) {
		m.peerStops(packet.Header{Type: packet.TypeStop, Stream: d.id}, packet.Reason{Code: 7})
	},
	evPeerClose: func(t *testing.T, m *Mux, p *peer, d *Dialogue) {
		if d.life >= lifeOpen { // Mux.data rejects the frame otherwise
			m.peerCloses(d)
		}
	},
	evPeerReset: func(t *testing.T, m *Mux, p *peer, d *Dialogue) {
		m.peerResets(packet.Header{Type: packet.TypeReset, Stream: d.id}, packet.Reason{Code: 7})
	},
	evFinSent:   func(t *testing.T, m *Mux, p *peer, d *Dialogue) { takeRawTurn(t, m, d, evFinSent) },
	evCloseSent: func(t *testing.T, m *Mux, p *peer, d *Dialogue) { takeRawTurn(t, m, d, evCloseSent) },
	evResetSent: func(t *testing.T, m *Mux, p *peer, d *Dialogue) { takeRawTurn(t, m, d, evResetSent) },
	evHeartbeat: func(t *testing.T, m *Mux, p *peer, d *Dialogue) { (*frameHandler)(m).OnHeartbeat() },
	evConnClose: func(t *testing.T, m *Mux, p *peer, d *Dialogue) { m.Close(io.EOF, packet.Reason{}) },
	evConnEnd:   func(t *testing.T, m *Mux, p *peer, d *Dialogue) { p.nc.Close() },
	evEnd:       func(t *testing.T, m *Mux, p *peer, d *Dialogue) { d.endRecv(io.EOF) },
}

// rawTurnEvent returns the event that a turn in the lane for raw bytes causes in the given
// states. It returns the value events if there is none.
func rawTurnEvent(life lifeState, send sendState) event {
	switch {
	case lifeTable[life][evResetSent] != 0 && send == sendCut:
		return evResetSent
	case lifeTable[life][evCloseSent] != 0 && send != sendCut:
		return evCloseSent
	case life == lifeOpen && send == sendEnding:
		return evFinSent
	}
	return events
}

// takeRawTurn gives d a turn in the lane for raw bytes, unless the turn causes another event
// than ev. It checks the frame.
func takeRawTurn(t *testing.T, m *Mux, d *Dialogue, ev event) {
	m.mu.Lock()
	defer m.unlockAndNotify()
	causes := rawTurnEvent(d.life, d.send.state)
	if causes != ev && causes != events {
		return // the test of that event checks it
	}
	var b conn.Batch
	assert.False(t, d.appendRaw(&b))
	if causes == events {
		assert.Empty(t, b.Buf, "frames of a turn that causes no event")
		return
	}
	h, err := packet.ParseHeader(b.Buf, packet.DefaultMaxFrame)
	require.NoError(t, err)
	want := map[event]packet.Header{
		evFinSent:   {Type: packet.TypeData, Flags: packet.FlagFin},
		evCloseSent: {Type: packet.TypeData, Flags: packet.FlagFin | packet.FlagClose},
		evResetSent: {Type: packet.TypeReset},
	}[ev]
	assert.Equal(t, want.Type, h.Type)
	assert.Equal(t, want.Flags, h.Flags)
}

// followed returns the states that follow an event according to the tables.
func followed(life lifeState, send sendState, ev event) (lifeState, sendState) {
	nextLife, nextSend := lifeTable[life][ev], sendTable[send][ev]
	if nextLife == 0 {
		nextLife = life
		for state := range lifeStates {
			if lifeTable[state][ev] != 0 {
				return life, send // ignored
			}
		}
	}
	if nextSend == 0 {
		nextSend = send
	}
	return nextLife, nextSend
}

// In each state, each event leads to the states in lifeTable and sendTable. A dialogue is in
// Mux.table until it has ended.
func TestLifeFollowsItsTables(t *testing.T) {
	for life := range lifeStates {
		for _, send := range sendStatesIn[life] {
			for ev := range events {
				t.Run(fmt.Sprint(life, ", ", send, ", ", ev), func(t *testing.T) {
					newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
						blockWriter(t, m)
						m.mu.Lock()
						d := dialogueIn(t, m, life, send)
						m.mu.Unlock()

						eventDrivers[ev](t, m, p, d)
						synctest.Wait()

						m.mu.Lock()
						defer m.mu.Unlock()
						wantLife, wantSend := followed(life, send, ev)
						if ev == evWriteCut && life == lifeOpen && send == sendEnding {
							wantLife, wantSend = followed(wantLife, wantSend, evClose) // the CloseWrite that led to sendEnding counts as Close
						}
						if (ev == evFinSent || ev == evCloseSent || ev == evResetSent) && rawTurnEvent(life, send) != ev {
							wantLife, wantSend = life, send
						}
						assert.Equal(t, wantLife, d.life, "state of the life")
						assert.Equal(t, wantSend, d.send.state, "state of the sending half")
						if m.cause == nil {
							assert.Equal(t, inTable(d.life), m.table.get(d.id) == d, "whether the dialogue is in the table")
						}
						if wantSend > sendOpen {
							assert.Error(t, d.send.err, "the error of Write")
						}
					})
				})
			}
		}
	}
}

// Each end of an open dialogue ends its receiving half and calls Handler.Closed once. Events
// after the end change nothing of that.
func TestEndsOfADialogue(t *testing.T) {
	for _, ev := range []event{evClose, evReset, evPeerClose, evPeerReset, evConnClose, evConnEnd} {
		t.Run(ev.String(), func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				blockWriter(t, m)
				m.mu.Lock()
				d := dialogueIn(t, m, lifeOpen, sendOpen)
				m.mu.Unlock()
				eventDrivers[ev](t, m, p, d)
				for later := range events {
					eventDrivers[later](t, m, p, d)
				}
				synctest.Wait()
				n, _ := h.closings(d)
				assert.Equal(t, 1, n)
				d.recv.mu.Lock()
				defer d.recv.mu.Unlock()
				assert.NotEqual(t, recvOpen, d.recv.state)
				assert.Error(t, d.recv.err)
			})
		})
	}
}

// A dialogue of the peer counts until Forget was called and it is in no lane. After the end of
// the connection, none counts.
func TestSlotOfADialogue(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		blockWriter(t, m)
		count := func() int {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.streams.peer
		}
		m.mu.Lock()
		kept, queued, last := dialogueIn(t, m, lifeOffered, sendReady), dialogueIn(t, m, lifeOffered, sendReady), dialogueIn(t, m, lifeOffered, sendReady)
		m.mu.Unlock()
		require.Equal(t, 3, count())

		kept.Refuse(packet.Reason{Code: uint32(geminio.CodeLimit)})
		assert.Equal(t, 2, count())
		kept.Forget()
		assert.Equal(t, 2, count(), "after a second Forget")

		queued.Accept(false)
		queued.Forget()
		last.Accept(false)
		last.Forget()
		assert.Equal(t, slotLeaving, queued.slot)
		assert.Equal(t, 2, count(), "after Forget while the Accept frames wait")

		m.Close(io.EOF, packet.Reason{})
		assert.Zero(t, count())
		go io.Copy(io.Discard, p.nc)
		synctest.Wait() // the Accept frames are sent
		assert.Equal(t, slotNone, queued.slot)
		assert.Zero(t, count(), "after the end of the connection")
		assert.True(t, m.Idle())
	})
}

// A stream is gone when both close flags are sent, in any order, also after half closes and
// after a Stop.
func TestCloseHandshake(t *testing.T) {
	const end = packet.FlagFin | packet.FlagClose
	type dialogue struct {
		*Mux
		*fakeHandler
		*peer
		d *Dialogue
	}
	for _, test := range []struct {
		name string
		do   func(t *testing.T, d dialogue)
	}{
		{"this side first", func(t *testing.T, d dialogue) {
			d.d.Write([]byte("last"))
			require.NoError(t, d.d.Close())
			var got []byte
			for { // the flags are in the frame of the bytes or in one behind it
				head, payload := d.next("the bytes that were written")
				got = append(got, payload...)
				if head.Flags == end {
					break
				}
			}
			assert.Equal(t, "last", string(got))
			assert.Equal(t, 2, d.table.len(), "the stream stays in the table until the peer closes it")
			d.writeData(3, 0, 1000, "data that was on its way")
			d.writePacket(packet.TypeMessage, 3, 1, 10, "a message that was on its way")
			d.writeData(3, end, 0, "the close of the peer")
		}},
		{"the peer first", func(t *testing.T, d dialogue) {
			d.writeData(3, end, 4, "the close of the peer")
			d.want(packet.TypeData, end, 3, "the close of this side in return")
			_, err := d.d.Write([]byte("x"))
			assert.Equal(t, io.ErrClosedPipe, err)
			buf := make([]byte, 10)
			n, _ := d.d.Read(buf)
			assert.Equal(t, 4, n, "bytes that arrived before the close")
			require.NoError(t, d.d.Close())
		}},
		{"both at once", func(t *testing.T, d dialogue) {
			blockWriter(t, d.Mux)
			require.NoError(t, d.d.Close())
			d.writeData(3, end, 0, "the close of the peer")
			synctest.Wait()
			d.want(packet.TypeData, 0, 1, "the byte that blocked the writer")
			d.want(packet.TypeData, end, 3, "the close of this side")
		}},
		{"after half closes", func(t *testing.T, d dialogue) {
			require.NoError(t, d.d.CloseWrite())
			d.want(packet.TypeData, packet.FlagFin, 3, "the fin of this side")
			d.writeData(3, packet.FlagFin, 0, "the fin of the peer")
			synctest.Wait()
			n, _ := d.closings(d.d)
			assert.Zero(t, n, "calls of Closed after half closes of both sides")
			d.writePacket(packet.TypeRequest, 3, 1, 1, "a request after both fins")
			require.NoError(t, d.d.Send(t.Context(), 0, packet.TypeResponse, 1, nil, nil, AtOnce))
			d.wantPacket(packet.TypeResponse, 3, "the response")
			assert.Equal(t, net.ErrClosed, errOf(d.d.Write([]byte{1})))
			require.NoError(t, d.d.Close())
			d.want(packet.TypeData, end, 3, "the close of this side")
			d.writeData(3, end, 0, "the close of the peer")
		}},
		{"after a stop", func(t *testing.T, d dialogue) {
			d.writeReason(packet.TypeStop, 3, 5, "enough", "a stop")
			synctest.Wait()
			assert.Equal(t, &geminio.StreamError{Code: 5, Text: "enough", Remote: true}, errOf(d.d.Write([]byte{1})))
			require.NoError(t, d.d.CloseWrite())
			d.wantIdle("no fin after a stop")
			require.NoError(t, d.d.Close())
			d.want(packet.TypeData, end, 3, "the close of this side")
			d.writeData(3, end, 0, "the close of the peer")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				test.do(t, dialogue{m, h, p, d})
				p.wantIdle("no frame after both closes")
				m.mu.Lock()
				defer m.mu.Unlock()
				assert.Equal(t, 1, m.table.len(), "the default stream only")
				assert.Zero(t, m.streams.peer)
				assert.EqualValues(t, 8<<10, m.windows.used, "windows of the default stream only")
				n, cause := h.closings(d)
				assert.Equal(t, 1, n)
				assert.Equal(t, io.EOF, cause)
			})
		})
	}
}

// The code and the text of a Reset reach the users of both sides.
func TestResetCarriesItsCode(t *testing.T) {
	newSetup().bothTransports(t, func(t *testing.T, ms [2]*Mux, hs [2]*fakeHandler) {
		near, far := openPair(t, ms)
		near.Reset(packet.Reason{Code: 1234, Text: "no such file"})
		want := &geminio.StreamError{Code: 1234, Text: "no such file", Remote: true}
		_, err := far.Read(make([]byte, 1))
		assert.Equal(t, want, err)
		assert.Equal(t, want, errOf(far.Write([]byte{1})))
		assert.ErrorIs(t, err, io.ErrClosedPipe)
		_, err = near.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
		assert.Equal(t, &geminio.StreamError{Code: 1234, Text: "no such file"}, errOf(near.Write([]byte{1})))
		assert.NoError(t, near.Close(), "Close after Reset")
	})
}

// A stream whose close flag the peer never answers leaves the table after two heartbeats.
func TestUnansweredCloseIsForgotten(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		m.mu.Lock()
		before := m.windows.used
		m.mu.Unlock()
		d := openTo(t, m, p)
		require.NoError(t, d.Close())
		p.want(packet.TypeData, packet.FlagFin|packet.FlagClose, d.id, "the close of this side")
		go io.Copy(io.Discard, p.nc)
		p.nc.SetReadDeadline(time.Time{})
		start := time.Now()
		gone := func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.table.get(d.id) == nil
		}
		for !gone() {
			p.write(packet.AppendPing(nil, packet.TypePong, 0), "a pong, which keeps the connection alive")
			time.Sleep(time.Minute)
		}
		assert.LessOrEqual(t, time.Since(start), 2*time.Hour+time.Minute, "the time until the stream has left the table")
		m.mu.Lock()
		assert.Equal(t, before, m.windows.used, "used part of the budget")
		assert.Zero(t, m.streams.local)
		m.mu.Unlock()
		p.writeData(d.id, 0, 100, "data for the stream that is gone")
		synctest.Wait()
		assert.NoError(t, m.c.Cause())
	})
}
