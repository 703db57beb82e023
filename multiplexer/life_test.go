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

// inTable tells whether frames may come for a dialogue in the state.
func inTable(s lifeState) bool { return s != lifeNew && !s.ended() }

// dialogueIn makes a dialogue in the given states. m.mu is held.
func dialogueIn(t *testing.T, m *Mux, life lifeState, send sendState) *Dialogue {
	d := m.newDialogue(0, "", nil)
	d.life, d.send.state = life, send
	switch life {
	case lifeNew:
		return d
	case lifeOffered:
		d.id = m.lastPeerID + 2
		m.lastPeerID = d.id
		d.slot = slotHeld
		m.peerStreams++
		m.unaccepted++
	default:
		d.id = m.nextID
		m.nextID += 2
	}
	if inTable(life) {
		require.True(t, m.windows.add(0))
		m.table[d.id] = d
		if life != lifeOffered {
			m.localStreams++
		}
	}
	d.send.writing = life == lifeOpen && send == sendCut // the end of the last Write closes d
	if send > sendOpen {
		d.send.err = net.ErrClosed
	}
	return d
}

// happenings cause each event, or try to: they do what the caller of this package, the
// reading goroutine or the writer does.
var happenings = [events]func(t *testing.T, m *Mux, p *peer, d *Dialogue){
	evOpen: func(t *testing.T, m *Mux, p *peer, d *Dialogue) {
		if d.life == lifeNew { // no caller opens a dialogue twice
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
		if d.life == lifeOpening { // as Open finds
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

// sends returns the event that a turn of raw bytes is for a dialogue in the given states:
// events if there is none.
func sends(life lifeState, send sendState) event {
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

// takeRawTurn gives d a turn of raw bytes if the event is what comes of it.
func takeRawTurn(t *testing.T, m *Mux, d *Dialogue, ev event) {
	m.mu.Lock()
	defer m.unlockAndNotify()
	comes := sends(d.life, d.send.state)
	if comes != ev && comes != events {
		return // it is another one's turn
	}
	var b conn.Batch
	assert.False(t, d.appendRaw(&b))
	if comes == events {
		assert.Empty(t, b.Buf, "no frame")
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

// followed returns the states that follow an event, as the tables say.
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

// What the methods do for each event leads from each state to that in the tables. A
// dialogue is in the table as long as frames may come for it.
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

						happenings[ev](t, m, p, d)
						synctest.Wait()

						m.mu.Lock()
						defer m.mu.Unlock()
						wantLife, wantSend := followed(life, send, ev)
						if ev == evWriteCut && life == lifeOpen && send == sendEnding {
							wantLife, wantSend = followed(wantLife, wantSend, evClose) // CloseWrite was called
						}
						if (ev == evFinSent || ev == evCloseSent || ev == evResetSent) && sends(life, send) != ev {
							wantLife, wantSend = life, send
						}
						assert.Equal(t, wantLife, d.life, "life")
						assert.Equal(t, wantSend, d.send.state, "sending half")
						if m.cause == nil {
							assert.Equal(t, inTable(d.life), m.table[d.id] == d, "in the table")
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

// Every end of an open dialogue ends its receiving half, and is told to the Handler once.
func TestEndsOfADialogue(t *testing.T) {
	for _, ev := range []event{evClose, evReset, evPeerClose, evPeerReset, evConnClose, evConnEnd} {
		t.Run(ev.String(), func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				blockWriter(t, m)
				m.mu.Lock()
				d := dialogueIn(t, m, lifeOpen, sendOpen)
				m.mu.Unlock()
				happenings[ev](t, m, p, d)
				for later := range events { // none of which is told
					happenings[later](t, m, p, d)
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

// A dialogue of the peer counts until Forget, and as long as it waits in a lane. The end of
// the connection ends all counting.
func TestSlotOfADialogue(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		blockWriter(t, m)
		count := func() int {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.peerStreams
		}
		m.mu.Lock()
		kept, queued, last := dialogueIn(t, m, lifeOffered, sendReady), dialogueIn(t, m, lifeOffered, sendReady), dialogueIn(t, m, lifeOffered, sendReady)
		m.mu.Unlock()
		require.Equal(t, 3, count())

		kept.Refuse(packet.Reason{Code: uint32(geminio.CodeLimit)})
		assert.Equal(t, 2, count())
		kept.Forget()
		assert.Equal(t, 2, count(), "forgotten once")

		queued.Accept(false)
		queued.Forget()
		last.Accept(false)
		last.Forget()
		assert.Equal(t, slotLeaving, queued.slot)
		assert.Equal(t, 2, count(), "their Accept frames wait")

		m.Close(io.EOF, packet.Reason{})
		assert.Zero(t, count())
		go io.Copy(io.Discard, p.nc)
		synctest.Wait() // what is ready is sent
		assert.Equal(t, slotNone, queued.slot)
		assert.Zero(t, count(), "counted down after the end")
		assert.True(t, m.Idle())
	})
}

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
			for { // in one frame or in two
				head, payload := d.next("what was written")
				got = append(got, payload...)
				if head.Flags == end {
					break
				}
			}
			assert.Equal(t, "last", string(got))
			assert.Len(t, d.table, 2, "frames may still come for it")
			d.writeData(3, 0, 1000, "on its way")
			d.writePacket(packet.TypeMessage, 3, 1, 10, "on its way")
			d.writeData(3, end, 0, "the peer's end")
		}},
		{"the peer first", func(t *testing.T, d dialogue) {
			d.writeData(3, end, 4, "the peer's end")
			d.want(packet.TypeData, end, 3, "the answer")
			_, err := d.d.Write([]byte("x"))
			assert.Equal(t, io.ErrClosedPipe, err)
			buf := make([]byte, 10)
			n, _ := d.d.Read(buf)
			assert.Equal(t, 4, n, "what came can be read")
			require.NoError(t, d.d.Close())
		}},
		{"both at once", func(t *testing.T, d dialogue) {
			blockWriter(t, d.Mux)
			require.NoError(t, d.d.Close())
			d.writeData(3, end, 0, "the peer's end")
			synctest.Wait()
			d.want(packet.TypeData, 0, 1, "what blocked the writer")
			d.want(packet.TypeData, end, 3, "this side's end")
		}},
		{"after half closes", func(t *testing.T, d dialogue) {
			require.NoError(t, d.d.CloseWrite())
			d.want(packet.TypeData, packet.FlagFin, 3, "half")
			d.writeData(3, packet.FlagFin, 0, "and half")
			synctest.Wait()
			n, _ := d.closings(d.d)
			assert.Zero(t, n, "packets can go both ways still")
			d.writePacket(packet.TypeRequest, 3, 1, 1, "they do")
			require.NoError(t, d.d.Send(t.Context(), 0, packet.TypeResponse, 1, nil, nil, AtOnce))
			d.wantPacket(packet.TypeResponse, 3, "they do")
			assert.Equal(t, net.ErrClosed, errOf(d.d.Write([]byte{1})))
			require.NoError(t, d.d.Close())
			d.want(packet.TypeData, end, 3, "the end")
			d.writeData(3, end, 0, "the peer's end")
		}},
		{"after a stop", func(t *testing.T, d dialogue) {
			d.writeReason(packet.TypeStop, 3, 5, "enough", "the peer reads no more")
			synctest.Wait()
			assert.Equal(t, &geminio.StreamError{Code: 5, Text: "enough", Remote: true}, errOf(d.d.Write([]byte{1})))
			require.NoError(t, d.d.CloseWrite())
			d.wantIdle("the peer does not care")
			require.NoError(t, d.d.Close())
			d.want(packet.TypeData, end, 3, "the end")
			d.writeData(3, end, 0, "the peer's end")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				test.do(t, dialogue{m, h, p, d})
				p.wantIdle("nothing is left to say")
				m.mu.Lock()
				defer m.mu.Unlock()
				assert.Len(t, m.table, 1, "it is gone")
				assert.Zero(t, m.peerStreams)
				assert.EqualValues(t, 8<<10, m.windows.used, "those of the default one")
				n, cause := h.closings(d)
				assert.Equal(t, 1, n)
				assert.Equal(t, io.EOF, cause)
			})
		})
	}
}

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
		assert.NoError(t, near.Close(), "nothing is left to do")
	})
}

// A peer that never answers a Close does not keep its stream's place for ever.
func TestUnansweredCloseIsForgotten(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		m.mu.Lock()
		before := m.windows.used
		m.mu.Unlock()
		d := openTo(t, m, p)
		require.NoError(t, d.Close())
		p.want(packet.TypeData, packet.FlagFin|packet.FlagClose, d.id, "closed")
		go io.Copy(io.Discard, p.nc)
		p.nc.SetReadDeadline(time.Time{})
		start := time.Now()
		gone := func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.table[d.id] == nil
		}
		for !gone() {
			p.write(packet.AppendPing(nil, packet.TypePong, 0), "alive, but silent about the stream")
			time.Sleep(time.Minute)
		}
		assert.LessOrEqual(t, time.Since(start), 2*time.Hour+time.Minute, "two heartbeats")
		m.mu.Lock()
		assert.Equal(t, before, m.windows.used, "what it took of the budget is free again")
		assert.Zero(t, m.localStreams)
		m.mu.Unlock()
		p.writeData(d.id, 0, 100, "late")
		synctest.Wait()
		assert.NoError(t, m.c.Cause())
	})
}
