package multiplexer

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// writeGoAway writes a GoAway and a Ping behind it.
func (p *peer) writeGoAway(ping uint64) {
	p.t.Helper()
	b := packet.AppendReason(nil, packet.TypeGoAway, 0, packet.Reason{})
	p.write(packet.AppendPing(b, packet.TypePing, ping), "goaway, ping")
}

// untilPong reads frames until the Pong with a value comes, and calls f with the others.
func (p *peer) untilPong(value uint64, f func(h packet.Header, payload []byte)) {
	p.t.Helper()
	for {
		h, payload := p.next("a pong comes")
		if h.Type != packet.TypePong {
			f(h, payload)
			continue
		}
		v, err := packet.ParsePing(h.Type, payload)
		require.NoError(p.t, err)
		require.Equal(p.t, value, v)
		return
	}
}

// The acknowledgement of a GoAway comes behind everything that was begun before. It does not
// wait for operations that wait for credit.
func TestGoAwayIsAcknowledgedBehindBegunWork(t *testing.T) {
	s := newSetup()
	s.peer.Handlers = 4
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		main := m.Main()
		send := func(typ packet.Type, call uint64, size int) {
			require.NoError(t, main.Send(t.Context(), 0, typ, call, nil, make([]byte, size), Later))
		}
		send(packet.TypeRequest, 1, 300000) // fills a batch, which the peer does not read yet
		synctest.Wait()
		send(packet.TypeRequest, 2, 300000)
		send(packet.TypeMessage, 3, 300000)
		send(packet.TypeMessage, 4, 10) // behind the large one
		send(packet.TypeRequest, 5, 10)
		n, err := main.Write(make([]byte, 3000))
		require.NoError(t, err)
		require.Equal(t, 3000, n)
		more := make(chan error, 1)
		go func() { // of which 1096 bytes have credit
			_, err := main.Write(make([]byte, 5000))
			more <- err
		}()
		opened := make(chan error, 1)
		go func() { opened <- m.Open(m.NewDialogue("", nil, nil)) }()
		waits := make(chan error, 1)
		go func() { waits <- main.Send(context.Background(), 0, packet.TypeRegister, 6, nil, []byte("x"), Later) }()
		synctest.Wait()
		p.writeGoAway(7)
		synctest.Wait()
		assert.Error(t, <-waits, "there is credit for three requests of a stream")

		got := make(map[uint64]int)
		raw, opens := 0, 0
		p.untilPong(7, func(h packet.Header, payload []byte) {
			switch {
			case h.Type == packet.TypeData:
				raw += len(payload)
			case h.Type == packet.TypeOpen:
				opens++
			case h.Type.IsPacket():
				f, err := packet.ParseFragmentHeader(payload, h)
				require.NoError(t, err)
				got[f.Seq] += len(payload) - packet.FragmentHeaderLen(h)
			}
		})
		assert.Equal(t, map[uint64]int{1: 300000, 2: 300000, 3: 300000, 4: 10, 5: 10}, got)
		assert.GreaterOrEqual(t, raw, 3000, "all that was accepted")
		assert.Equal(t, 1, opens)
		assert.Empty(t, more)
		p.writeCredit(DefaultID, packet.ClassRaw, 4000, "raw bytes go on")
		synctest.Wait()
		go io.Copy(io.Discard, p.nc)
		assert.NoError(t, <-more)
	})
}

// A writer of raw bytes that never stops does not delay the shutdown of either side for ever.
func TestGoAwayDoesNotWaitForAWriter(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := m.Main().Write(make([]byte, 1000)); err != nil {
					ended <- err
					return
				}
			}
		}()
		synctest.Wait()
		m.GoAway(packet.Reason{})
		idle := false
		for round := uint64(1); round <= 3; round++ {
			p.writeGoAway(round)
			p.untilPong(round, func(h packet.Header, payload []byte) {
				if h.Type == packet.TypeData {
					p.writeCredit(DefaultID, packet.ClassRaw, h.Length, "the reader takes all")
				}
				idle = idle || m.Idle()
			})
		}
		assert.True(t, idle, "bytes that are written later do not count")
		go io.Copy(io.Discard, p.nc)
		m.Close(io.EOF, packet.Reason{})
		assert.Error(t, <-ended)
	})
}

// A packet that has arrived in part is under way, also if the peer has acknowledged the
// GoAway too early.
func TestIdleWaitsForPartialPackets(t *testing.T) {
	for _, last := range []string{"arrives", "is abandoned"} {
		t.Run(last, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				gone := make(chan struct{}, 10)
				h.onIdle = func() { gone <- struct{}{} }
				p.writeFragment(packet.TypeMessage, packet.FlagMore, DefaultID, 0, 20000, 5000, "begins")
				m.GoAway(packet.Reason{})
				p.want(packet.TypeGoAway, 0, 0, "goaway")
				go io.Copy(io.Discard, p.nc)
				synctest.Wait()
				assert.False(t, m.Idle())
				for len(gone) > 0 {
					<-gone
				}
				if last == "arrives" {
					p.writeFragment(packet.TypeMessage, packet.FlagNext, DefaultID, 0, 0, 15000, "ends")
				} else {
					b := packet.AppendFragmentHeader(nil, packet.FragmentHeader{}, 0)
					p.writeFrame(packet.TypeAbandon, 0, DefaultID, append(b, byte(packet.TypeMessage)), "ends")
				}
				synctest.Wait()
				assert.True(t, m.Idle())
				assert.NotEmpty(t, gone, "the Handler is told")
			})
		})
	}
}

// A packet that waits to be sent is under way.
func TestIdleWaitsForQueuedPackets(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		gone := make(chan struct{}, 1000)
		h.onIdle = func() { gone <- struct{}{} }
		main := m.Main()
		require.NoError(t, main.Send(t.Context(), 0, packet.TypeResponse, 1, nil, make([]byte, 1<<20), Later))
		m.GoAway(packet.Reason{})
		synctest.Wait()
		assert.False(t, m.Idle())
		assert.Equal(t, 0, len(gone))
		p.nc.SetReadDeadline(time.Time{})
		go io.Copy(io.Discard, p.nc)
		synctest.Wait()
		assert.True(t, m.Idle())
		assert.NotEmpty(t, gone, "the Handler is told")
	})
}

// A GoAway is acknowledged at once where nothing was begun.
func TestGoAwayIsAcknowledgedAtOnce(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		for round := range uint64(100) {
			start := time.Now()
			p.writeGoAway(round)
			p.untilPong(round, func(h packet.Header, _ []byte) { t.Errorf("%v", h) })
			require.Zero(t, time.Since(start))
		}
	})
}
