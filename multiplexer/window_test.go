package multiplexer

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/internal/charge"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// readBytes reads n bytes.
func readBytes(t *testing.T, d *Dialogue, n int) {
	t.Helper()
	for buf := make([]byte, n); n > 0; {
		k, err := d.Read(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		n -= k
	}
}

// measured has the Mux learn of a round trip of d.
func measured(t *testing.T, m *Mux, p *peer, d time.Duration) {
	t.Helper()
	m.c.Probe()
	value, err := packet.ParsePing(packet.TypePing, readPing(t, p))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	p.write(packet.AppendPing(nil, packet.TypePong, value), "pong")
	synctest.Wait()
	if m.c.RTT() != d {
		t.Fatal("a round trip of ", m.c.RTT())
	}
}

func readPing(t *testing.T, p *peer) []byte {
	t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(patience))
	h, payload, err := kit.ReadFrame(p.nc, kit.AnyFrame)
	if err != nil || h.Type != packet.TypePing {
		t.Fatal(h, err)
	}
	return payload
}

func TestWindowDoublesIfUsedWithinTwoRoundTrips(t *testing.T) {
	const rtt = 100 * time.Millisecond
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		measured(t, m, p, rtt)
		d := m.Main()
		use := func(n int, after time.Duration) uint32 {
			t.Helper()
			time.Sleep(after)
			p.writeData(1, 0, n, "half a window")
			readBytes(t, d, n)
			return p.wantCredit(1, packet.ClassRaw, "half of the window was read")
		}
		assert.EqualValues(t, 2048, use(2048, time.Hour), "at leisure: the window stays")
		assert.EqualValues(t, 2048, use(2048, 2*rtt), "in just two round trips")
		assert.EqualValues(t, 2048+4096, use(2048, 2*rtt-1), "in less: it doubles")
		assert.EqualValues(t, 4096+8192, use(4096, 0), "and again")
		assert.EqualValues(t, 16<<10, d.recv.rx[packet.ClassRaw].size)
		assert.EqualValues(t, 8<<10, use(8192, time.Second), "never back")
		assert.EqualValues(t, 4<<10, d.recv.rx[packet.ClassMessages].size, "each class by itself")
	})
}

func TestWindowIsBounded(t *testing.T) {
	for _, test := range []struct {
		name string
		lim  func(l *Limits)
		want uint64
	}{
		{"by the largest window", func(l *Limits) { l.MaxWindow = 20 << 10 }, 16 << 10},
		{"by half the budget of all", func(l *Limits) { l.Windows = 2*(12<<10+16<<10) - 2 }, 16 << 10},
		{"by half the budget of all, just not", func(l *Limits) { l.Windows = 2 * (12<<10 + 16<<10) }, 32 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSetup()
			test.lim(&s.lim)
			s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				measured(t, m, p, time.Hour/4)
				d := m.Main()
				for range 8 {
					n := int(d.recv.rx[packet.ClassRaw].size / 2)
					p.writeData(1, 0, n, "half a window")
					readBytes(t, d, n)
					p.wantCredit(1, packet.ClassRaw, "credit")
				}
				assert.EqualValues(t, test.want, d.recv.rx[packet.ClassRaw].size)
				m.mu.Lock()
				defer m.mu.Unlock()
				assert.LessOrEqual(t, m.windows.used, s.lim.Windows)
				assert.Equal(t, test.want+4<<10, m.windows.used)
			})
		})
	}
}

// A stream that began when others had grown, and slow down its round trips, gets as
// much as they have; where the budget is used up, they give back half.
func TestWindowsBecomeEqual(t *testing.T) {
	s := newSetup()
	// 24 KiB are the first windows of three streams.
	s.lim.Windows = 36<<10 + 2*uint64(len("name")+len("meta"))
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		measured(t, m, p, time.Second)
		wide, narrow := openFrom(t, m, p, 3), openFrom(t, m, p, 5)
		use := func(d *Dialogue, after time.Duration, credit int) {
			t.Helper()
			time.Sleep(after)
			n := int(d.recv.rx[packet.ClassRaw].size / 2)
			p.writeData(d.id, 0, n, "half a window")
			readBytes(t, d, n)
			if credit > 0 {
				assert.EqualValues(t, credit, p.wantCredit(d.id, packet.ClassRaw, "credit"))
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			assert.EqualValues(t, 2*(4<<10)+4<<10+uint64(wide.recv.rx[packet.ClassRaw].size)+uint64(narrow.recv.rx[packet.ClassRaw].size)+4<<10, m.windows.used)
		}
		use(wide, 0, 2<<10+4<<10)
		use(wide, 0, 4<<10+8<<10)
		use(wide, 0, 8<<10) // there is no more in the budget
		assert.EqualValues(t, 16<<10, wide.recv.rx[packet.ClassRaw].size)
		use(narrow, time.Minute, 2<<10) // neither for the other, though its reader keeps up
		use(wide, time.Minute, 0)       // which gives back half: all that it would get
		assert.EqualValues(t, 8<<10, wide.recv.rx[packet.ClassRaw].size)
		use(narrow, time.Minute, 2<<10+4<<10)
		for range 3 {
			use(wide, time.Minute, 4<<10)
			use(narrow, time.Minute, 4<<10)
		}
	})
}

// A window that has grown is given back with its dialogue.
func TestGrownWindowsAreGivenBack(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		before := m.windows.used
		measured(t, m, p, time.Hour/4)
		d := openFrom(t, m, p, 3)
		p.writeData(3, 0, 2048, "half a window")
		readBytes(t, d, 2048)
		p.wantCredit(3, packet.ClassRaw, "credit")
		assert.EqualValues(t, before+8<<10+4<<10, m.windows.used)
		d.Reset(packet.Reason{})
		assert.Equal(t, before, m.windows.used)
		p.wantReason(packet.TypeReset, 3, 0, "reset")
	})
}

// The message window grows in the same way.
func TestMessageWindowGrows(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		measured(t, m, p, time.Hour/4)
		const cost = 1920 + charge.MessageOverhead // half a window
		p.writePacket(packet.TypeMessage, 1, 1, 1920, "half a window")
		synctest.Wait()
		m.Main().Release(packet.TypeMessage, 1920)
		assert.EqualValues(t, cost+4<<10, p.wantCredit(1, packet.ClassMessages, "it doubles"))
	})
}

// However many windows ask for a round trip that is not known yet, one Ping goes
// out until it is answered: many would break the rules of the wire.
func TestOneProbeAtATime(t *testing.T) {
	s := newSetup()
	s.local.MaxStreams, s.lim.Backlog = 300, 300
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		var all []*Dialogue
		for i := range uint64(300) {
			all = append(all, openFrom(t, m, p, 3+2*i))
		}
		pings := 0
		for _, d := range all {
			p.writeData(d.id, 0, 2048, "half a window")
			readBytes(t, d, 2048)
			for {
				p.nc.SetReadDeadline(time.Now().Add(patience))
				head, _, err := kit.ReadFrame(p.nc, kit.AnyFrame)
				if err != nil {
					t.Fatal(err)
				}
				if head.Type == packet.TypeCredit {
					break
				}
				pings++
			}
		}
		assert.Equal(t, 1, pings)
	})
}
