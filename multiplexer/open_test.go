package multiplexer

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
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
				local, remote := uint64(3), uint64(2)
				if side == geminio.RecipientSide {
					local, remote = 2, 3
				}
				d := m.NewDialogue("a name", nil, []byte("some meta"))
				opened := kit.Start(func() error { return m.Open(d) })
				o := p.wantOpen(local, "the Open has the first id of this side")
				require.NoError(t, <-opened)
				assert.Equal(t, "a name", o.Peer)
				assert.Equal(t, "some meta", string(o.Meta))
				assert.Equal(t, packet.Windows{Raw: s.local.Raw, Messages: s.local.Messages}, o.Windows)
				assert.Equal(t, local, d.DialogueID())
				assert.Equal(t, geminio.InitiatorSide, d.Side())
				assert.EqualValues(t, 3000, d.credit.tx[packet.ClassRaw].avail)
				assert.EqualValues(t, 5000, d.credit.tx[packet.ClassMessages].avail)
				synctest.Wait()
				assert.Equal(t, []*Dialogue{d}, h.accepted)

				in := openFrom(t, m, p, remote)
				assert.Equal(t, "name", in.Peer())
				assert.Equal(t, "meta", string(in.Meta()))
				assert.Equal(t, geminio.RecipientSide, in.Side())
				assert.EqualValues(t, 3000, in.credit.tx[packet.ClassRaw].avail)
				synctest.Wait()
				assert.Equal(t, []*Dialogue{in}, h.opened)
				assert.Equal(t, m.Main(), m.Dialogues()[0])
				assert.ElementsMatch(t, []*Dialogue{m.Main(), d, in}, m.Dialogues())

				// Ids increase by 2 and are not used again.
				for i := range uint64(20) {
					require.NoError(t, d.Close())
					p.want(packet.TypeData, packet.FlagFin|packet.FlagClose, d.DialogueID(), "Close sends the close flag")
					p.writeData(d.DialogueID(), packet.FlagFin|packet.FlagClose, 0, "the peer answers the close flag")
					d = openTo(t, m, p)
					require.Equal(t, local+2*(i+1), d.DialogueID())
				}
			})
		})
	}
}

func TestOpenIsRefused(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		windows := m.windows.used
		d := m.NewDialogue("", nil, nil)
		opened := kit.Start(func() error { return m.Open(d) })
		p.want(packet.TypeOpen, 0, 2, "Open sends an Open frame")
		p.write(packet.AppendReason(nil, packet.TypeRefuse, 2, packet.Reason{
			Code: uint32(geminio.CodeLimit), Text: "no room", Retry: time.Minute,
		}), "the peer refuses")
		err := <-opened
		var refused *geminio.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, geminio.RefusedError{Code: geminio.CodeLimit, Text: "no room", RetryAfter: time.Minute}, *refused)
		assert.ErrorIs(t, err, geminio.ErrTooMany)
		assert.Empty(t, h.accepted)
		assert.Equal(t, windows, m.windows.used, "the windows of a refused dialogue are still counted")
		assert.True(t, m.Idle())
		_, err = d.Write([]byte{1})
		assert.Error(t, err)
		p.writeReason(packet.TypeReset, 2, 1, "", "a Reset arrives after the Refuse")
		p.wantIdle("a Reset for a refused dialogue is ignored")
	})
}

func TestOpenErrors(t *testing.T) {
	s := newSetup()
	s.peer.MaxFrame = 2000
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		for _, d := range []*Dialogue{
			m.NewDialogue("", nil, make([]byte, 2000)),
			m.NewDialogue(strings.Repeat("x", packet.MaxPeer+1), nil, nil),
		} {
			err := m.Open(d)
			var limit *geminio.LimitError
			require.ErrorAs(t, err, &limit)
			assert.ErrorIs(t, err, geminio.ErrTooLarge)
			assert.Greater(t, limit.Value, limit.Limit)
		}
		m.windows.limit = m.windows.used + 3*crowdedRaw - 1
		openTo(t, m, p)
		openTo(t, m, p)
		err := m.Open(m.NewDialogue("", nil, nil))
		assert.ErrorIs(t, err, geminio.ErrTooMany, "Open beyond the memory budget")
		p.wantIdle("an Open that fails sends nothing")

		m.windows.limit *= 2
		opened := kit.Start(func() error { return m.Open(m.NewDialogue("", nil, nil)) })
		p.want(packet.TypeOpen, 0, 6, "an Open that the peer does not answer")
		kit.Blocked(t, opened)
		p.nc.Close()
		assert.Equal(t, io.EOF, <-opened)
		<-m.c.Done()
		assert.Equal(t, io.EOF, m.Open(m.NewDialogue("", nil, nil)))
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
		{"budget", func(s *setup) { s.lim.Windows, s.lim.Spare = 8<<10+2*crowdedRaw-1, 0 }, 1, "too many streams: 2 use the memory budget up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSetup()
			test.change(s)
			s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				id := uint64(1)
				for range test.fits {
					id += 2
					p.writeOpen(id, "an Open within the limit")
					p.want(packet.TypeAccept, 0, id, "an Open within the limit is accepted")
				}
				for range 3 {
					id += 2
					p.writeOpen(id, "an Open beyond the limit")
					assert.Equal(t, test.text, p.wantReason(packet.TypeRefuse, id, geminio.CodeLimit, "an Open beyond the limit is refused"))
				}
				p.writeData(id, 0, 10, "data of a refused dialogue arrives")
				d, err := m.Accept()
				require.NoError(t, err)
				d.Reset(packet.Reason{})
				p.wantReason(packet.TypeReset, d.DialogueID(), 0, "Reset sends a Reset frame")
				id += 2
				p.writeOpen(id, "an Open after the reset of a dialogue")
				p.want(packet.TypeAccept, 0, id, "an Open is accepted after the reset of a dialogue")
				assert.Len(t, h.opened, test.fits+1, "Opened was called for a refused dialogue")
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
		for i := range uint64(100) { // more than the limits of streams, backlog and budget
			p.writeOpen(3+2*i, "the peer opens")
			assert.Equal(t, "not you", p.wantReason(packet.TypeRefuse, 3+2*i, geminio.CodeApplication, "the Handler refuses"))
		}
		synctest.Wait()
		assert.Equal(t, windows, m.windows.used)
		assert.Zero(t, m.streams.peer)
		assert.Zero(t, m.streams.unaccepted)
		assert.Empty(t, h.closed, "Closed was called for a refused dialogue")
	})
}

// A peer that resets a dialogue before the Handler has decided uses up no limit.
func TestResetBeforeTheHandlerDecides(t *testing.T) {
	for _, accept := range []bool{true, false} {
		t.Run(fmt.Sprint("accept ", accept), func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				h.onOpened = func(*Dialogue) {}
				for i := range uint64(20) {
					p.writeOpen(3+2*i, "the peer opens")
					p.writeReason(packet.TypeReset, 3+2*i, 2, "never mind", "the peer takes the Open back")
					synctest.Wait()
					d := h.opened[i]
					if accept {
						d.Accept(true)
					} else {
						d.Refuse(packet.Reason{})
					}
					n, _ := h.closings(d)
					assert.Equal(t, 1, n, "calls of Closed for a dialogue that was Opened")
				}
				p.wantIdle("no answer is sent for a dialogue that the peer has reset")
				assert.Zero(t, m.streams.unaccepted)
				assert.Zero(t, m.streams.peer)
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
		{"the default id", func(p *peer) { p.writeOpen(1, "") }, []string{"stream 1"}},
		{"an id twice", func(p *peer) {
			p.writeOpen(5, "")
			p.want(packet.TypeAccept, 0, 5, "the first Open is accepted")
			p.writeOpen(5, "")
		}, []string{"stream 5"}},
		{"an id below the last", func(p *peer) {
			p.writeOpen(7, "")
			p.want(packet.TypeAccept, 0, 7, "the first Open is accepted")
			p.writeOpen(3, "")
		}, []string{"stream 3"}},
		{"too short", func(p *peer) { p.writeFrame(packet.TypeOpen, 0, 3, make([]byte, 9), "") }, []string{"open", "9 bytes"}},
		{"a raw window of 0", func(p *peer) {
			p.write(packet.AppendOpen(nil, 3, packet.Open{Windows: packet.Windows{Messages: 4096}}), "")
		}, []string{"stream 3 has no credit for raw bytes"}},
		{"accept of a stream that was never opened", func(p *peer) { p.write(accept, "") }, []string{"accept", "stream 2 was never opened"}},
		{"accept of the default stream", func(p *peer) {
			p.write(packet.AppendAccept(nil, 1, packet.Windows{Raw: 1 << 20, Messages: 1 << 20}), "")
		}, []string{"accept", "stream 1 is not being opened"}},
		{"refuse of a stream of the peer", func(p *peer) {
			p.writeOpen(3, "")
			p.want(packet.TypeAccept, 0, 3, "the Open is accepted")
			p.writeReason(packet.TypeRefuse, 3, 1, "", "")
		}, []string{"refuse", "stream 3 is not being opened"}},
		{"refuse of a stream that was never opened", func(p *peer) { p.writeReason(packet.TypeRefuse, 8, 1, "", "") }, []string{"refuse", "stream 8 was never opened"}},
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
			p.write(accept, "the second Accept")
			p.wantViolation("accept twice", "stream 2 is not being opened")
		})
	})
}

// A burst of Opens beyond the limits is not a violation, if the peer reads the refusals.
func TestBurstOfRefusals(t *testing.T) {
	const opens = 2500
	s := newSetup()
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		var all []byte
		for i := range uint64(opens) {
			all = packet.AppendOpen(all, 3+2*i, packet.Open{Windows: p.windows})
		}
		wrote := kit.Start(func() error { _, err := p.nc.Write(all); return err })
		for i := range opens {
			head, payload := p.next("every Open is answered")
			if head.Type != packet.TypeAccept {
				require.Equal(t, packet.TypeRefuse, head.Type, "answer %d: %q", i, payload)
			}
		}
		require.NoError(t, <-wrote)
	})
}

// A peer that opens endlessly and reads no refusals violates the protocol.
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
				assert.Equal(t, 5*time.Second, time.Since(start), "the time until the end: the linger time")
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
		p.writeOpen(3, "the peer opens")
		d := <-accepted
		assert.EqualValues(t, 3, d.DialogueID())
		p.want(packet.TypeAccept, 0, 3, "the Handler accepts")
		m.Close(io.EOF, packet.Reason{})
		assert.Nil(t, <-accepted, "Accept returns no dialogue after the end")
	})
}

// Closed is called once, after Opened has returned, if the connection ends during Opened.
func TestEndDuringOpened(t *testing.T) {
	for _, decide := range []struct {
		name string
		do   func(*Dialogue)
	}{
		{"not decided", func(*Dialogue) {}},
		{"accepted", func(d *Dialogue) { d.Accept(true) }},
		{"refused", func(d *Dialogue) { d.Refuse(packet.Reason{Code: 1}) }},
	} {
		t.Run(decide.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				entered, resume := make(chan *Dialogue), make(chan struct{})
				h.mu.Lock()
				h.onOpened = func(d *Dialogue) {
					entered <- d
					<-resume
					decide.do(d)
				}
				h.mu.Unlock()
				p.writeOpen(3, "the peer opens")
				d := <-entered
				m.Close(io.EOF, packet.Reason{})
				synctest.Wait()
				h.mu.Lock()
				assert.Zero(t, h.closed[d], "calls of Closed before Opened has returned")
				assert.Equal(t, 1, h.ends)
				h.mu.Unlock()
				close(resume)
				synctest.Wait()
				h.mu.Lock()
				assert.Equal(t, 1, h.closed[d], "calls of Closed after Opened has returned")
				assert.Equal(t, io.EOF, h.causes[d])
				h.mu.Unlock()
				_, err := d.Write([]byte("x"))
				require.Error(t, err)
				_, err = d.Read(make([]byte, 1))
				assert.Equal(t, io.EOF, err)
			})
		})
	}
}

// early has frames that must not arrive before a stream is accepted.
var early = map[string]func(p *peer, id uint64){
	"data":         func(p *peer, id uint64) { p.writeData(id, 0, 10, "data") },
	"no data":      func(p *peer, id uint64) { p.writeData(id, 0, 0, "data") },
	"close":        func(p *peer, id uint64) { p.writeData(id, packet.FlagFin|packet.FlagClose, 0, "close") },
	"stop":         func(p *peer, id uint64) { p.writeReason(packet.TypeStop, id, 0, "", "stop") },
	"raw credit":   func(p *peer, id uint64) { p.writeCredit(id, packet.ClassRaw, 1, "credit") },
	"credit":       func(p *peer, id uint64) { p.writeCredit(id, packet.ClassMessages, 1, "credit") },
	"large credit": func(p *peer, id uint64) { p.writeCredit(id, packet.ClassLargeMessages, 1, "credit") },
	"request":      func(p *peer, id uint64) { p.writePacket(packet.TypeRequest, id, 1, 100, "request") },
	"fragment":     func(p *peer, id uint64) { p.writeFragment(packet.TypeRequest, more, id, 1, 20000, 100, "fragment") },
	"next":         func(p *peer, id uint64) { p.writeFragment(packet.TypeRequest, next, id, 1, 0, 100, "fragment") },
	"message":      func(p *peer, id uint64) { p.writePacket(packet.TypeMessage, id, 1, 100, "message") },
	"register":     func(p *peer, id uint64) { p.writePacket(packet.TypeRegister, id, 1, 4, "register") },
	"response":     func(p *peer, id uint64) { p.writePacket(packet.TypeResponse, id, 1, 12, "response") },
	"ack":          func(p *peer, id uint64) { p.writePacket(packet.TypeAck, id, 1, 4, "ack") },
	"abandon": func(p *peer, id uint64) {
		p.writeFrame(packet.TypeAbandon, 0, id, append(make([]byte, 8), byte(packet.TypeRequest)), "abandon")
	},
}

// Before it has answered an Open, the accepting side must not send other frames.
func TestFramesBeforeTheAnswerToAnOpen(t *testing.T) {
	tests := maps.Clone(early)
	tests["reset"] = func(p *peer, id uint64) { p.writeReason(packet.TypeReset, id, 1, "no", "reset") }
	for name, write := range tests {
		t.Run(name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := m.NewDialogue("", nil, nil)
				opened := kit.Start(func() error { return m.Open(d) })
				p.want(packet.TypeOpen, 0, 2, "Open sends an Open frame")
				write(p, 2)
				p.wantViolation(name, "stream 2 is not open yet")
				assert.Equal(t, io.EOF, <-opened)
				assert.Empty(t, h.got())
			})
		})
	}
}

// Before the answer to its Open, the opening side may only send a Reset.
func TestFramesOfAnOpenerThatDoesNotWait(t *testing.T) {
	for name, write := range early {
		t.Run(name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				h.onOpened = func(*Dialogue) {}
				p.writeOpen(3, "the peer opens")
				write(p, 3)
				p.wantViolation(name, "stream 3 is not open yet")
				assert.Empty(t, h.got())
			})
		})
	}
}

// Frames that the accepting side has sent before it gets the Reset are ignored.
func TestTheAnswerToAnOpenThatWasTakenBack(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := m.NewDialogue("", nil, nil)
		require.NoError(t, d.SetWriteDeadline(time.Now().Add(time.Second)))
		assert.Equal(t, os.ErrDeadlineExceeded, m.Open(d))
		p.want(packet.TypeOpen, 0, 2, "Open sends an Open frame")
		p.wantReason(packet.TypeReset, 2, geminio.CodeCanceled, "the Open is taken back at the deadline")
		p.write(packet.AppendAccept(nil, 2, p.windows), "the peer has accepted before the Reset arrived")
		for _, name := range slices.Sorted(maps.Keys(early)) {
			if name != "large credit" { // more than this side has used
				early[name](p, 2)
			}
		}
		p.writeReason(packet.TypeRefuse, 2, 1, "", "a Refuse arrives")
		p.writeReason(packet.TypeReset, 2, 1, "", "a Reset arrives")
		synctest.Wait()
		assert.NoError(t, m.c.Cause())
		assert.Empty(t, h.got())
	})
}

// Before a dialogue is open, no method sends anything on it.
func TestNothingIsSentBeforeTheAnswerToAnOpen(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		use := func(d *Dialogue) {
			for name, err := range map[string]error{
				"Write":      second(d.Write([]byte("x"))),
				"CloseWrite": d.CloseWrite(), "CloseRead": d.CloseRead(),
				"Send": d.Send(t.Context(), 0, packet.TypeRequest, 1, nil, nil, AtOnce),
				"Post": d.Post(packet.TypeAck, 1, make([]byte, 4)),
			} {
				assert.Error(t, err, name)
			}
			assert.NoError(t, d.Close())
		}
		h.onOpened = use
		p.writeOpen(3, "the peer opens")
		d := m.NewDialogue("", nil, nil)
		use(d)
		opened := kit.Start(func() error { return m.Open(d) })
		p.want(packet.TypeOpen, 0, 2, "Open sends an Open frame")
		use(d)
		p.wantIdle("nothing is sent on a stream that is not open")
		p.write(packet.AppendAccept(nil, 2, p.windows), "the peer accepts")
		assert.NoError(t, <-opened)
	})
}

// second returns its second argument.
func second[T any](_ T, err error) error { return err }

// Ids that the opening side has skipped are treated as those of closed streams.
func TestSkippedStreamIDs(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		openFrom(t, m, p, 9)
		for name, write := range early {
			if name != "large credit" { // more than this side has used
				write(p, 5)
			}
		}
		p.writeReason(packet.TypeReset, 5, 1, "", "a Reset of a skipped id")
		p.write(packet.AppendAccept(nil, 5, p.windows), "an Accept of a skipped id")
		p.writeReason(packet.TypeRefuse, 5, 1, "", "a Refuse of a skipped id")
		assert.EqualValues(t, 20000, p.wantCredit(0, packet.ClassLargeRequests, "the credit of the connection is granted again"))
		p.wantIdle("frames of a skipped id are ignored")
		assert.Empty(t, h.got())
		p.writeOpen(5, "an Open with a skipped id")
		p.wantViolation("an Open with a skipped id", "stream 5")
	})
	for name, write := range early {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			openFrom(t, m, p, 9)
			write(p, 11)
			p.wantViolation(name, "stream 11 was never opened")
		})
	}
}

// A stream counts against the limit of streams before the Handler has answered.
func TestOfferedStreamsCount(t *testing.T) {
	s := newSetup()
	s.local.MaxStreams, s.lim.Backlog = 2, 100
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		h.onOpened = func(*Dialogue) {}
		p.writeOpen(3, "an Open that the Handler does not answer")
		p.writeOpen(5, "another Open that the Handler does not answer")
		p.writeOpen(7, "an Open beyond the limit")
		p.wantReason(packet.TypeRefuse, 7, geminio.CodeLimit, "an Open beyond the limit is refused")
		p.writeReason(packet.TypeReset, 3, 2, "", "the peer takes an Open back")
		p.writeOpen(9, "an Open in place of the one taken back")
		p.wantIdle("the Handler has not answered")
		synctest.Wait()
		h.opened[2].Accept(true)
		p.want(packet.TypeAccept, 0, 9, "the Handler accepts")
	})
}

// A window above the largest credit counts as the largest credit.
func TestWindowsAboveTheLargestCredit(t *testing.T) {
	for _, class := range []packet.Class{packet.ClassRaw, packet.ClassMessages} {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			p.windows = packet.Windows{Raw: 1<<32 - 1, Messages: 1<<32 - 1}
			d := openFrom(t, m, p, 3)
			assert.EqualValues(t, 1<<31-1, d.credit.tx[class].avail)
			d = openTo(t, m, p)
			assert.EqualValues(t, 1<<31-1, d.credit.tx[class].avail)
			p.writeCredit(d.DialogueID(), class, 1, "credit beyond the largest")
			p.wantViolation("credit beyond the largest", "1 on top of 2147483647 exceeds 2147483647")
		})
	}
}

// The answer to an Open arrives at the deadline of the Open.
func TestAnswerAtTheDeadlineOfAnOpen(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(p *peer, id uint64)
	}{
		{"accept", func(p *peer, id uint64) {
			p.write(packet.AppendAccept(nil, id, p.windows), "the peer accepts")
		}},
		{"accept and more", func(p *peer, id uint64) {
			b := packet.AppendAccept(nil, id, p.windows)
			b = packet.AppendCredit(b, id, packet.Credit{Class: packet.ClassRaw, Amount: 1})
			b = packet.AppendHeader(b, packet.Header{Type: packet.TypeData, Stream: id, Length: 1})
			b = append(b, 'x')
			b = packet.AppendReason(b, packet.TypeStop, id, packet.Reason{})
			p.write(b, "the peer accepts and uses the stream")
		}},
		{"refuse", func(p *peer, id uint64) {
			p.writeReason(packet.TypeRefuse, id, geminio.CodeLimit, "no", "the peer refuses")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				go io.Copy(io.Discard, p.nc)
				for i := range uint64(500) {
					d := m.NewDialogue("", nil, nil)
					d.SetWriteDeadline(time.Now().Add(time.Millisecond))
					opened := kit.Start(func() error { return m.Open(d) })
					synctest.Wait()
					time.Sleep(time.Millisecond) // the deadline passes now, and the answer is written now
					test.answer(p, 2+2*i)
					if err := <-opened; err == nil {
						require.NoError(t, d.Close())
					}
					synctest.Wait()
					require.NoError(t, m.c.Cause(), "Open number %d", i)
				}
			})
		})
	}
}

// An Open is taken back between the arrival of the answer and its handling. The test makes the
// mutex enter starvation mode, in which it is handed to its waiters in their order: so
// cancelOpen runs when the reading goroutine releases the lock for the first time.
func TestOpenIsCanceledWhileTheAnswerIsHandled(t *testing.T) {
	for _, accept := range []bool{true, false} {
		t.Run(fmt.Sprint("accept ", accept), func(t *testing.T) {
			near, far := kit.TCPPair(t)
			m, _, p := newSetup().start(t, near, far)
			d := m.NewDialogue("", nil, nil)
			opened := kit.Start(func() error { return m.Open(d) })
			p.want(packet.TypeOpen, 0, 2, "Open sends an Open frame")
			m.mu.Lock()
			if accept {
				p.write(packet.AppendAccept(nil, 2, p.windows), "the peer accepts")
			} else {
				p.writeReason(packet.TypeRefuse, 2, geminio.CodeLimit, "no", "the peer refuses")
			}
			time.Sleep(10 * time.Millisecond) // the reading goroutine waits for the lock
			go func() {
				m.mu.Lock()
				defer m.unlockAndNotify()
				if d.life == lifeOpening {
					d.cancelOpen()
				}
			}()
			time.Sleep(10 * time.Millisecond)
			m.mu.Unlock() // wakes the first waiter
			m.mu.Lock()   // takes the lock before the waiter, which then starves
			time.Sleep(10 * time.Millisecond)
			m.mu.Unlock()
			<-opened
			p.writeOpen(3, "the peer opens a stream")
			for {
				if head, payload := p.next("the connection continues"); head.Type != packet.TypeReset {
					require.Equal(t, packet.TypeAccept, head.Type, "%q", payload)
					break
				}
			}
			p.nc.Close()
			<-m.c.Done()
		})
	}
}

// Opens whose deadlines are as short as a round trip do not end the connection.
func TestOpensWithShortDeadlines(t *testing.T) {
	near, far := kit.TCPPair(t)
	ms, _ := newSetup().startPair(t, near, far)
	defer stopPair(ms)
	go func() {
		for {
			if _, err := ms[1].Accept(); err != nil {
				return
			}
		}
	}()
	stop := time.Now().Add(time.Second)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for time.Now().Before(stop) {
				d := ms[0].NewDialogue("", nil, nil)
				d.SetWriteDeadline(time.Now().Add(rand.N(400 * time.Microsecond)))
				err := ms[0].Open(d)
				var refused *geminio.RefusedError
				switch {
				case err == nil:
					d.Close()
				case err == os.ErrDeadlineExceeded:
				default:
					assert.ErrorAs(t, err, &refused, "Open fails with another error than a refusal of the peer")
				}
			}
		})
	}
	all.Wait()
	for _, m := range ms {
		assert.NoError(t, m.c.Cause())
	}
	require.Eventually(t, func() bool { return ms[0].Idle() && ms[1].Idle() }, time.Minute, time.Millisecond)
}

// Streams are opened and closed concurrently, more than the memory budget allows. The race
// detector checks that the error is made under the lock.
func TestOpensBeyondTheBudget(t *testing.T) {
	near, far := kit.TCPPair(t)
	s := newSetup()
	s.lim.Windows = 3 * 8 << 10
	ms, _ := s.startPair(t, near, far)
	defer stopPair(ms)
	go func() {
		for {
			if _, err := ms[1].Accept(); err != nil {
				return
			}
		}
	}()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				d := ms[0].NewDialogue("", nil, nil)
				var limit *geminio.LimitError
				var refused *geminio.RefusedError
				switch err := ms[0].Open(d); {
				case err == nil:
					d.Close()
				case !errors.As(err, &refused):
					assert.ErrorAs(t, err, &limit)
				}
			}
		})
	}
	all.Wait()
}
