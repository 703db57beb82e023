package multiplexer

import (
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// The end of a dialogue is told after its opening, and once, also if the connection
// ends while the Handler is being told of it.
func TestEndWhileOpeningIsTold(t *testing.T) {
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
				begun, goOn := make(chan *Dialogue), make(chan struct{})
				h.mu.Lock()
				h.onOpened = func(d *Dialogue) {
					begun <- d
					<-goOn
					decide.do(d)
				}
				h.mu.Unlock()
				p.writeOpen(3, "the peer opens")
				d := <-begun
				m.Close(io.EOF, packet.Reason{})
				synctest.Wait()
				h.mu.Lock()
				assert.Zero(t, h.closed[d], "Closed, before Opened has returned")
				assert.Equal(t, 1, h.ends)
				h.mu.Unlock()
				close(goOn)
				synctest.Wait()
				h.mu.Lock()
				assert.Equal(t, 1, h.closed[d], "Closed")
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

// early are frames of a stream that must not come before its accept.
var early = map[string]func(p *peer, id uint64){
	"data":        func(p *peer, id uint64) { p.writeData(id, 0, 10, "data") },
	"no data":     func(p *peer, id uint64) { p.writeData(id, 0, 0, "data") },
	"close":       func(p *peer, id uint64) { p.writeData(id, packet.FlagFin|packet.FlagClose, 0, "close") },
	"stop":        func(p *peer, id uint64) { p.writeReason(packet.TypeStop, id, 0, "", "stop") },
	"raw credit":  func(p *peer, id uint64) { p.writeCredit(id, packet.ClassRaw, 1, "credit") },
	"credit":      func(p *peer, id uint64) { p.writeCredit(id, packet.ClassMessages, 1, "credit") },
	"a large one": func(p *peer, id uint64) { p.writeCredit(id, packet.ClassLargeMessages, 1, "credit") },
	"request":     func(p *peer, id uint64) { p.writePacket(packet.TypeRequest, id, 1, 100, "request") },
	"fragment":    func(p *peer, id uint64) { p.writeFragment(packet.TypeRequest, more, id, 1, 20000, 100, "fragment") },
	"the next":    func(p *peer, id uint64) { p.writeFragment(packet.TypeRequest, next, id, 1, 0, 100, "fragment") },
	"message":     func(p *peer, id uint64) { p.writePacket(packet.TypeMessage, id, 1, 100, "message") },
	"register":    func(p *peer, id uint64) { p.writePacket(packet.TypeRegister, id, 1, 4, "register") },
	"response":    func(p *peer, id uint64) { p.writePacket(packet.TypeResponse, id, 1, 12, "response") },
	"ack":         func(p *peer, id uint64) { p.writePacket(packet.TypeAck, id, 1, 4, "ack") },
	"abandon": func(p *peer, id uint64) {
		p.writeFrame(packet.TypeAbandon, 0, id, append(make([]byte, 8), byte(packet.TypeRequest)), "abandon")
	},
}

// The side that was asked to open a stream sends nothing but its answer before that.
func TestFramesBeforeTheAnswerToAnOpen(t *testing.T) {
	tests := maps.Clone(early)
	tests["reset"] = func(p *peer, id uint64) { p.writeReason(packet.TypeReset, id, 1, "no", "reset") }
	for name, write := range tests {
		t.Run(name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := m.NewDialogue("", nil)
				opened := kit.Start(func() error { return m.Open(d) })
				p.want(packet.TypeOpen, 0, 2, "the opener waits")
				write(p, 2)
				p.wantViolation(name, "stream 2 is not open yet")
				assert.Equal(t, io.EOF, <-opened)
				assert.Empty(t, h.got())
			})
		})
	}
}

// The side that opens a stream sends nothing but a reset before the answer.
func TestFramesOfAnOpenerThatDoesNotWait(t *testing.T) {
	for name, write := range early {
		t.Run(name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				h.onOpened = func(*Dialogue) {}
				p.writeOpen(3, "open")
				write(p, 3)
				p.wantViolation(name, "stream 3 is not open yet")
				assert.Empty(t, h.got())
			})
		})
	}
}

// What the acceptor has sent before it learns that the opener has given up is ignored,
// and costs neither side its credit.
func TestTheAnswerToAnOpenThatWasTakenBack(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := m.NewDialogue("", nil)
		require.NoError(t, d.SetWriteDeadline(time.Now().Add(time.Second)))
		assert.Equal(t, os.ErrDeadlineExceeded, m.Open(d))
		p.want(packet.TypeOpen, 0, 2, "the opener waits")
		p.wantReason(packet.TypeReset, 2, geminio.CodeCanceled, "and gives up")
		p.write(packet.AppendAccept(nil, 2, p.windows), "accepted meanwhile")
		for _, name := range slices.Sorted(maps.Keys(early)) {
			if name != "a large one" { // which would be more than was taken
				early[name](p, 2)
			}
		}
		p.writeReason(packet.TypeRefuse, 2, 1, "", "refuse")
		p.writeReason(packet.TypeReset, 2, 1, "", "reset")
		synctest.Wait()
		assert.NoError(t, m.c.Cause())
		assert.Empty(t, h.got())
	})
}

// Nothing can be sent on a dialogue that is not open yet.
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
		p.writeOpen(3, "open")
		d := m.NewDialogue("", nil)
		use(d)
		opened := kit.Start(func() error { return m.Open(d) })
		p.want(packet.TypeOpen, 0, 2, "the opener waits")
		use(d)
		p.wantIdle("for neither stream")
		p.write(packet.AppendAccept(nil, 2, p.windows), "the answer")
		assert.NoError(t, <-opened)
	})
}

func second[T any](_ T, err error) error { return err }

// Numbers that an opener leaves out count as those of streams that are closed.
func TestStreamNumbersThatWereLeftOut(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		openFrom(t, m, p, 9)
		for name, write := range early {
			if name != "a large one" { // which would be more than was taken
				write(p, 5)
			}
		}
		p.writeReason(packet.TypeReset, 5, 1, "", "reset")
		p.write(packet.AppendAccept(nil, 5, p.windows), "accept")
		p.writeReason(packet.TypeRefuse, 5, 1, "", "refuse")
		assert.EqualValues(t, 20000, p.wantCredit(0, packet.ClassLargeRequests, "for what cost credit of the connection"))
		p.wantIdle("nothing else comes of it")
		assert.Empty(t, h.got())
		p.writeOpen(5, "one that was left out")
		p.wantViolation("a lower number", "stream 5")
	})
	for name, write := range early {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			openFrom(t, m, p, 9)
			write(p, 11)
			p.wantViolation(name, "stream 11 was never opened")
		})
	}
}

// An offered stream counts among the streams of its receiver.
func TestOfferedStreamsCount(t *testing.T) {
	s := newSetup()
	s.local.MaxStreams, s.lim.Backlog = 2, 100
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		h.onOpened = func(*Dialogue) {}
		p.writeOpen(3, "one that is not answered")
		p.writeOpen(5, "another")
		p.writeOpen(7, "one too many")
		p.wantReason(packet.TypeRefuse, 7, geminio.CodeLimit, "two are offered")
		p.writeReason(packet.TypeReset, 3, 2, "", "one is taken back")
		p.writeOpen(9, "in its place")
		p.wantIdle("it waits for its answer")
		synctest.Wait()
		h.opened[2].Accept(true)
		p.want(packet.TypeAccept, 0, 9, "the answer")
	})
}

// Windows above the largest credit count as that.
func TestWindowsAboveTheLargestCredit(t *testing.T) {
	for _, class := range []packet.Class{packet.ClassRaw, packet.ClassMessages} {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			p.windows = packet.Windows{Raw: 1<<32 - 1, Messages: 1<<32 - 1}
			d := openFrom(t, m, p, 3)
			assert.EqualValues(t, 1<<31-1, d.credit.tx[class].avail)
			d = openTo(t, m, p)
			assert.EqualValues(t, 1<<31-1, d.credit.tx[class].avail)
			p.writeCredit(d.DialogueID(), class, 1, "more than that")
			p.wantViolation("more than that", "1 on top of 2147483647 exceeds 2147483647")
		})
	}
}

// That nothing is left of a dialogue is told without the lock of the batch in which its last
// frame stands, so that what is told may take further locks.
func TestGoneIsToldWithoutTheBatchLock(t *testing.T) {
	near, far := net.Pipe()
	m, h, p := newSetup().start(t, near, far)
	d := openFrom(t, m, p, 3)
	gone := make(chan bool, 1)
	h.mu.Lock()
	h.onGone = func() {
		reclaimed := make(chan struct{})
		go func() {
			m.c.Reclaim(nil) // takes the lock of the batch
			close(reclaimed)
		}()
		select {
		case <-reclaimed:
			gone <- true
		case <-time.After(5 * time.Second):
			gone <- false
		}
	}
	h.mu.Unlock()
	p.writeData(3, packet.FlagFin|packet.FlagClose, 0, "the peer closes")
	p.want(packet.TypeData, packet.FlagFin|packet.FlagClose, 3, "the answer")
	assert.True(t, <-gone, "the lock of the batch is held")
	_, err := d.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
	far.Close()
	<-m.c.Done()
	<-h.ended
}
