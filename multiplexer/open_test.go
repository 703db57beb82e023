package multiplexer

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

func TestOpenAndAccept(t *testing.T) {
	for _, side := range []geminio.Side{geminio.InitiatorSide, geminio.RecipientSide} {
		t.Run(side.String(), func(t *testing.T) {
			s := newSetup()
			s.side = side
			s.peer.Raw, s.peer.Messages = 3000, 5000
			s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				first, theirs := uint64(3), uint64(2)
				if side == geminio.RecipientSide {
					first, theirs = 2, 3
				}
				d := m.NewDialogue("a name", []byte("some meta"))
				opened := kit.Start(func() error { return m.Open(d) })
				o := p.wantOpen(first, "the first id of this side")
				require.NoError(t, <-opened)
				assert.Equal(t, "a name", o.Peer)
				assert.Equal(t, "some meta", string(o.Meta))
				assert.Equal(t, packet.Windows{Raw: s.local.Raw, Messages: s.local.Messages}, o.Windows)
				assert.Equal(t, first, d.DialogueID())
				assert.Equal(t, geminio.InitiatorSide, d.Side())
				assert.EqualValues(t, 3000, d.credit.tx[packet.ClassRaw].avail)
				assert.EqualValues(t, 5000, d.credit.tx[packet.ClassMessages].avail)
				synctest.Wait()
				assert.Equal(t, []*Dialogue{d}, h.accepted)

				in := openFrom(t, m, p, theirs)
				assert.Equal(t, "name", in.Peer())
				assert.Equal(t, "meta", string(in.Meta()))
				assert.Equal(t, geminio.RecipientSide, in.Side())
				assert.EqualValues(t, 3000, in.credit.tx[packet.ClassRaw].avail)
				synctest.Wait()
				assert.Equal(t, []*Dialogue{in}, h.opened)
				assert.Equal(t, m.Main(), m.Dialogues()[0])
				assert.ElementsMatch(t, []*Dialogue{m.Main(), d, in}, m.Dialogues())

				// Ids go up by two and are never used again.
				for i := range uint64(20) {
					require.NoError(t, d.Close())
					p.want(packet.TypeData, packet.FlagFin|packet.FlagClose, d.DialogueID(), "closed")
					p.writeData(d.DialogueID(), packet.FlagFin|packet.FlagClose, 0, "and by the peer")
					d = openTo(t, m, p)
					require.Equal(t, first+2*(i+1), d.DialogueID())
				}
			})
		})
	}
}

func TestOpenIsRefused(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		windows := m.windows.used
		d := m.NewDialogue("", nil)
		opened := kit.Start(func() error { return m.Open(d) })
		p.want(packet.TypeOpen, 0, 2, "an open")
		p.write(packet.AppendReason(nil, packet.TypeRefuse, 2, packet.Reason{
			Code: uint32(geminio.CodeLimit), Text: "no room", Retry: time.Minute,
		}), "no")
		err := <-opened
		var refused *geminio.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, geminio.RefusedError{Code: geminio.CodeLimit, Text: "no room", RetryAfter: time.Minute}, *refused)
		assert.ErrorIs(t, err, geminio.ErrTooMany)
		assert.Empty(t, h.accepted)
		assert.Equal(t, windows, m.windows.used, "its windows are free again")
		assert.True(t, m.Idle())
		_, err = d.Write([]byte{1})
		assert.Error(t, err)
		p.writeReason(packet.TypeReset, 2, 1, "", "late, and of no account")
		p.wantIdle("no error")
	})
}

func TestOpenErrors(t *testing.T) {
	s := newSetup()
	s.peer.MaxFrame = 2000
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		for _, d := range []*Dialogue{
			m.NewDialogue("", make([]byte, 2000)),
			m.NewDialogue(strings.Repeat("x", packet.MaxName+1), nil),
		} {
			err := m.Open(d)
			var limit *geminio.LimitError
			require.ErrorAs(t, err, &limit)
			assert.ErrorIs(t, err, geminio.ErrTooLarge)
			assert.Greater(t, limit.Value, limit.Limit)
		}
		m.windows.limit = m.windows.used + 3*8<<10 - 1
		openTo(t, m, p)
		openTo(t, m, p)
		err := m.Open(m.NewDialogue("", nil))
		assert.ErrorIs(t, err, geminio.ErrTooMany, "the budget")
		p.wantIdle("nothing is sent of those")

		m.windows.limit *= 2
		waits := kit.Start(func() error { return m.Open(m.NewDialogue("", nil)) })
		p.want(packet.TypeOpen, 0, 6, "one that the peer does not answer")
		kit.Blocked(t, waits)
		p.nc.Close()
		assert.Equal(t, io.EOF, <-waits)
		<-m.c.Done()
		assert.Equal(t, io.EOF, m.Open(m.NewDialogue("", nil)))
		_, err = m.Accept()
		assert.Equal(t, io.EOF, err)
		assert.Empty(t, m.Dialogues())
	})
}

func TestOpensOfThePeerAreRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(s *setup)
		fits   int
		text   string
	}{
		{"streams", func(s *setup) { s.local.MaxStreams, s.lim.Backlog = 3, 100 }, 3, "too many streams: 3 are open"},
		{"backlog", func(s *setup) { s.lim.Backlog = 2 }, 2, "too many streams: 2 wait to be accepted"},
		{"budget", func(s *setup) { s.lim.Windows = 3*8<<10 - 1 }, 1, "too many streams: 2 use the memory budget up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSetup()
			test.change(s)
			s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				id := uint64(1)
				for range test.fits {
					id += 2
					p.writeOpen(id, "there is room")
					p.want(packet.TypeAccept, 0, id, "there is room")
				}
				for range 3 {
					id += 2
					p.writeOpen(id, "there is none")
					assert.Equal(t, test.text, p.wantReason(packet.TypeRefuse, id, geminio.CodeLimit, "there is none"))
				}
				p.writeData(id, 0, 10, "for a refused one, on its way")
				d, err := m.Accept()
				require.NoError(t, err)
				d.Reset(packet.Reason{})
				p.wantReason(packet.TypeReset, d.DialogueID(), 0, "one leaves")
				id += 2
				p.writeOpen(id, "there is room again")
				p.want(packet.TypeAccept, 0, id, "there is room again")
				assert.Len(t, h.opened, test.fits+1, "the handler hears of no other")
			})
		})
	}
}

func TestTheHandlerRefuses(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		h.onOpened = func(d *Dialogue) {
			d.Refuse(packet.Reason{Code: uint32(geminio.CodeApplication), Text: "not you"})
		}
		windows := m.windows.used
		for i := range uint64(100) { // more than streams, backlog and budget allow
			p.writeOpen(3+2*i, "open")
			assert.Equal(t, "not you", p.wantReason(packet.TypeRefuse, 3+2*i, geminio.CodeApplication, "refused"))
		}
		synctest.Wait()
		assert.Equal(t, windows, m.windows.used)
		assert.Zero(t, m.peerStreams)
		assert.Zero(t, m.unaccepted)
		assert.Empty(t, h.closed, "Closed is not told of refused ones")
	})
}

// A peer that takes its wish back, before the handler has decided, keeps no place.
func TestResetBeforeTheHandlerDecides(t *testing.T) {
	for _, accept := range []bool{true, false} {
		t.Run(fmt.Sprint("accept ", accept), func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				h.onOpened = func(*Dialogue) {}
				for i := range uint64(20) {
					p.writeOpen(3+2*i, "open")
					p.writeReason(packet.TypeReset, 3+2*i, 2, "never mind", "reset")
					synctest.Wait()
					d := h.opened[i]
					if accept {
						d.Accept(true)
					} else {
						d.Refuse(packet.Reason{})
					}
					n, _ := h.closings(d)
					assert.Equal(t, 1, n, "Closed is told of it, since it was opened")
				}
				p.wantIdle("nothing is said about them")
				assert.Zero(t, m.unaccepted)
				assert.Zero(t, m.peerStreams)
			})
		})
	}
}

func TestOpenViolations(t *testing.T) {
	accept := packet.AppendAccept(nil, 2, packet.Windows{Raw: 1 << 20, Messages: 1 << 20})
	for _, test := range []struct {
		name  string
		write func(p *peer)
		want  []string
	}{
		{"an id of this side", func(p *peer) { p.writeOpen(4, "") }, []string{"stream 4"}},
		{"the default one", func(p *peer) { p.writeOpen(1, "") }, []string{"stream 1"}},
		{"an id twice", func(p *peer) {
			p.writeOpen(5, "")
			p.want(packet.TypeAccept, 0, 5, "once")
			p.writeOpen(5, "")
		}, []string{"stream 5"}},
		{"an id below the last", func(p *peer) {
			p.writeOpen(7, "")
			p.want(packet.TypeAccept, 0, 7, "first")
			p.writeOpen(3, "")
		}, []string{"stream 3"}},
		{"too short", func(p *peer) { p.writeFrame(packet.TypeOpen, 0, 3, make([]byte, 9), "") }, []string{"open", "9 bytes"}},
		{"windows too small", func(p *peer) {
			p.write(packet.AppendOpen(nil, 3, packet.Open{Windows: packet.Windows{Raw: 1, Messages: 100}}), "")
		}, []string{"stream 3", "1 and 100 bytes", "1 and 4096"}},
		{"a raw window of 0", func(p *peer) {
			p.write(packet.AppendOpen(nil, 3, packet.Open{Windows: packet.Windows{Messages: 4096}}), "")
		}, []string{"stream 3", "0 and 4096 bytes"}},
		{"accept of what was never opened", func(p *peer) { p.write(accept, "") }, []string{"accept", "stream 2 was never opened"}},
		{"accept of the default one", func(p *peer) {
			p.write(packet.AppendAccept(nil, 1, packet.Windows{Raw: 1 << 20, Messages: 1 << 20}), "")
		}, []string{"accept", "stream 1 is not being opened"}},
		{"refuse of the peer's own", func(p *peer) {
			p.writeOpen(3, "")
			p.want(packet.TypeAccept, 0, 3, "")
			p.writeReason(packet.TypeRefuse, 3, 1, "", "")
		}, []string{"refuse", "stream 3 is not being opened"}},
		{"refuse of what was never opened", func(p *peer) { p.writeReason(packet.TypeRefuse, 8, 1, "", "") }, []string{"refuse", "stream 8 was never opened"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				test.write(p)
				p.wantViolation(test.name, test.want...)
			})
		})
	}
	t.Run("accept twice", func(t *testing.T) {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			openTo(t, m, p)
			p.write(accept, "again")
			p.wantViolation("accept twice", "stream 2 is not being opened")
		})
	})
}

// A burst of opens that all must be refused is no violation, if the peer reads.
func TestABurstOfRefusalsHarmsNobody(t *testing.T) {
	const opens = 2500
	s := newSetup()
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		var all []byte
		for i := range uint64(opens) {
			all = packet.AppendOpen(all, 3+2*i, packet.Open{Windows: p.windows})
		}
		wrote := kit.Start(func() error { _, err := p.nc.Write(all); return err })
		for i := range opens {
			head, payload := p.next("an answer to each")
			if head.Type != packet.TypeAccept {
				require.Equal(t, packet.TypeRefuse, head.Type, "answer %d: %q", i, payload)
			}
		}
		require.NoError(t, <-wrote)
	})
}

// A peer that opens without end, and reads no refusal, is stopped at a bound.
func TestRefusalsAreBounded(t *testing.T) {
	for _, byHandler := range []bool{false, true} {
		t.Run(fmt.Sprint("by the handler ", byHandler), func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				if byHandler {
					h.onOpened = func(d *Dialogue) { d.Refuse(packet.Reason{Code: 1, Text: "no"}) }
				}
				start := time.Now()
				for i := range uint64(100_000) {
					p.nc.SetWriteDeadline(time.Now().Add(time.Minute))
					if _, err := p.nc.Write(packet.AppendOpen(nil, 3+2*i, packet.Open{Windows: p.windows})); err != nil {
						break
					}
					if m.c.State() >= conn.Closing {
						break
					}
					m.mu.Lock()
					n := len(m.refusals)
					m.mu.Unlock()
					require.LessOrEqual(t, n, maxRefusals+1)
				}
				<-m.c.Done()
				assert.ErrorIs(t, m.c.Cause(), geminio.ErrProtocol)
				assert.ErrorContains(t, m.c.Cause(), fmt.Sprint(maxRefusals, " refusals wait"))
				assert.Equal(t, 5*time.Second, time.Since(start), "the time for lingering")
			})
		})
	}
}

func TestAcceptWaits(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		accepted := make(chan *Dialogue)
		for range 2 {
			go func() {
				d, err := m.Accept()
				if err != nil {
					d = nil
				}
				accepted <- d
			}()
		}
		p.writeOpen(3, "open")
		d := <-accepted
		assert.EqualValues(t, 3, d.DialogueID())
		p.want(packet.TypeAccept, 0, 3, "yes")
		m.Close(io.EOF, packet.Reason{})
		assert.Nil(t, <-accepted, "the end")
	})
}
