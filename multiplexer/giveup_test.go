package multiplexer

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// The peer may answer an Open in the moment in which it is given up.
func TestOpenIsGivenUpAsTheAnswerComes(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(p *peer, id uint64)
	}{
		{"accept", func(p *peer, id uint64) {
			p.write(packet.AppendAccept(nil, id, p.windows), "accepted")
		}},
		{"accept and more", func(p *peer, id uint64) {
			b := packet.AppendAccept(nil, id, p.windows)
			b = packet.AppendCredit(b, id, packet.Credit{Class: packet.ClassRaw, Amount: 1})
			b = packet.AppendHeader(b, packet.Header{Type: packet.TypeData, Stream: id, Length: 1})
			b = append(b, 'x')
			b = packet.AppendReason(b, packet.TypeStop, id, packet.Reason{})
			p.write(b, "accepted and used")
		}},
		{"refuse", func(p *peer, id uint64) {
			p.writeReason(packet.TypeRefuse, id, geminio.CodeLimit, "no", "refused")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				go io.Copy(io.Discard, p.nc)
				for i := range uint64(500) {
					d := m.NewDialogue("", nil)
					d.SetWriteDeadline(time.Now().Add(time.Millisecond))
					opened := kit.Start(func() error { return m.Open(d) })
					synctest.Wait()
					time.Sleep(time.Millisecond) // the deadline comes now, and so does the answer
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

// An Open is given up between the arrival of the answer and its handling. A mutex for
// which its waiters have waited for more than a millisecond is handed from one to the
// next in the order of their coming: so the giving up has its turn as soon as the
// reading goroutine lets go of the lock for the first time.
func TestOpenIsGivenUpWhileTheAnswerIsHandled(t *testing.T) {
	for _, accept := range []bool{true, false} {
		t.Run(fmt.Sprint("accept ", accept), func(t *testing.T) {
			near, far := kit.TCPPair(t)
			m, _, p := newSetup().start(t, near, far)
			d := m.NewDialogue("", nil)
			opened := kit.Start(func() error { return m.Open(d) })
			p.want(packet.TypeOpen, 0, 2, "an open")
			m.mu.Lock()
			if accept {
				p.write(packet.AppendAccept(nil, 2, p.windows), "accepted")
			} else {
				p.writeReason(packet.TypeRefuse, 2, geminio.CodeLimit, "no", "refused")
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
			m.mu.Unlock() // wakes the first of them, which finds
			m.mu.Lock()   // the lock taken again, and insists from now on
			time.Sleep(10 * time.Millisecond)
			m.mu.Unlock()
			<-opened
			p.writeOpen(3, "the connection lives")
			for {
				if head, payload := p.next("an answer"); head.Type != packet.TypeReset {
					require.Equal(t, packet.TypeAccept, head.Type, "%q", payload)
					break
				}
			}
			p.nc.Close()
			<-m.c.Done()
		})
	}
}

// Streams are opened with deadlines that are as short as a round trip.
func TestOpensThatAreGivenUpHarmNobody(t *testing.T) {
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
				d := ms[0].NewDialogue("", nil)
				d.SetWriteDeadline(time.Now().Add(rand.N(400 * time.Microsecond)))
				err := ms[0].Open(d)
				var refused *geminio.RefusedError
				switch {
				case err == nil:
					d.Close()
				case err == os.ErrDeadlineExceeded:
				default:
					assert.ErrorAs(t, err, &refused, "the peer has too many")
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

// Many streams are opened and closed at the same time, more than the memory budget has room
// for: what is said about that is read while the lock is held.
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
				d := ms[0].NewDialogue("", nil)
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
