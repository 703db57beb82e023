package multiplexer

import (
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// The end of a connection is reported once for each dialogue, and wakes all goroutines that
// wait on it.
func TestEnd(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(m *Mux, p *peer)
		lost bool
	}{
		{"this side closes", func(m *Mux, p *peer) { m.Close(io.EOF, packet.Reason{}) }, false},
		{"the peer closes", func(m *Mux, p *peer) { p.writeReason(packet.TypeClose, 0, 0, "", "the peer closes") }, false},
		{"the transport ends", func(m *Mux, p *peer) { p.nc.Close() }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				a, b := openFrom(t, m, p, 3), openTo(t, m, p)
				reads := kit.Start(func() error { _, err := b.Read(make([]byte, 1)); return err })
				accepts := kit.Start(func() error { _, err := m.Accept(); return err })
				opens := kit.Start(func() error { return m.Open(m.NewDialogue("", nil, nil)) })
				p.want(packet.TypeOpen, 0, 4, "an Open that the peer does not answer")
				kit.Blocked(t, reads)
				kit.Blocked(t, accepts)
				kit.Blocked(t, opens)
				test.end(m, p)
				err := kit.Returned(t, reads)
				if test.lost {
					assert.ErrorIs(t, err, geminio.ErrConnectionLost)
					assert.NotErrorIs(t, err, io.EOF)
				} else {
					assert.Equal(t, io.EOF, err)
				}
				assert.Equal(t, io.EOF, kit.Returned(t, accepts))
				assert.Equal(t, io.EOF, kit.Returned(t, opens))
				for _, d := range []*Dialogue{a, b, m.Main()} {
					_, err := d.Write([]byte{1})
					assert.ErrorIs(t, err, io.ErrClosedPipe, "Write on stream %d", d.id)
				}
				<-h.ended
				synctest.Wait()
				for _, d := range []*Dialogue{a, b} {
					n, _ := h.closings(d)
					assert.Equal(t, 1, n, "calls of Closed for stream %d", d.id)
				}
				n, _ := h.closings(m.Main())
				assert.Zero(t, n, "calls of Closed for the default dialogue")
				h.mu.Lock()
				defer h.mu.Unlock()
				assert.Equal(t, 1, h.ends, "calls of End")
				assert.Equal(t, test.lost, h.cause != io.EOF, "cause: %v", h.cause)
			})
		})
	}
}

// A dialogue of the backlog can be accepted after the end by the peer, but not after Close of
// this side.
func TestAcceptAfterTheEnd(t *testing.T) {
	for _, local := range []bool{true, false} {
		t.Run(fmt.Sprint("closed by this side ", local), func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				p.writeOpen(3, "the peer opens")
				p.want(packet.TypeAccept, 0, 3, "the Handler accepts")
				if local {
					m.Close(io.EOF, packet.Reason{})
				} else {
					p.nc.Close()
				}
				synctest.Wait()
				d, err := m.Accept()
				if local {
					assert.Equal(t, io.EOF, err)
					return
				}
				require.NoError(t, err)
				assert.EqualValues(t, 3, d.DialogueID())
				_, err = m.Accept()
				assert.Equal(t, io.EOF, err, "Accept with an empty backlog")
			})
		})
	}
}

// A Ping of the peer is reported and answered.
func TestOnPing(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		p.write(packet.AppendPing(nil, packet.TypePing, 77), "the peer pings")
		payload := p.want(packet.TypePong, 0, 0, "the Ping is answered")
		v, err := packet.ParsePing(packet.TypePong, payload)
		require.NoError(t, err)
		assert.EqualValues(t, 77, v)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		assert.Equal(t, 1, h.pings, "calls of OnPing")
	})
}

// A packet that the peer has not received counts as one that was not sent.
func TestNotReceived(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		require.NoError(t, d.Send(t.Context(), 0, packet.TypeRequest, 7, nil, nil, AtOnce))
		p.wantPacket(packet.TypeRequest, 3, "a request")
		assert.False(t, d.Abandon(packet.TypeRequest, 7), "a request that was sent may have been executed")
		u := (*frameHandler)(m)
		u.NotReceived(packet.Header{Type: packet.TypeRequest, Stream: 3}, 7)
		u.NotReceived(packet.Header{Type: packet.TypeRequest, Stream: 99}, 7) // no such stream
		assert.True(t, d.Abandon(packet.TypeRequest, 7), "a request that was not received was not executed")
	})
}
