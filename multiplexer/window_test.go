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

// readBytes reads n bytes of d.
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

// measured makes the Mux measure a round trip of d.
func measured(t *testing.T, m *Mux, p *peer, d time.Duration) {
	t.Helper()
	m.c.Probe()
	value, err := packet.ParsePing(packet.TypePing, readPing(t, p))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	p.write(packet.AppendPing(nil, packet.TypePong, value), "the peer answers the Ping")
	synctest.Wait()
	if m.c.RTT() != d {
		t.Fatalf("round trip: got %v, want %v", m.c.RTT(), d)
	}
}

// readPing reads a Ping and returns its payload.
func readPing(t *testing.T, p *peer) []byte {
	t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(patience))
	h, payload, err := kit.ReadFrame(p.nc, kit.AnyFrame)
	if err != nil || h.Type != packet.TypePing {
		t.Fatalf("got %v, %v; want a Ping", h, err)
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
			return p.wantCredit(1, packet.ClassRaw, "credit is granted when half of the window was read")
		}
		assert.EqualValues(t, 2048, use(2048, time.Hour), "the window stays if it is used slowly")
		assert.EqualValues(t, 2048, use(2048, 2*rtt), "the window stays if half of it lasts two round trips")
		assert.EqualValues(t, 2048+4096, use(2048, 2*rtt-1), "the window doubles if half of it lasts less")
		assert.EqualValues(t, 4096+8192, use(4096, 0), "the window doubles again")
		assert.EqualValues(t, 16<<10, d.recv.rx[packet.ClassRaw].size)
		assert.EqualValues(t, 8<<10, use(8192, time.Second), "the window does not shrink if it is used slowly")
		assert.EqualValues(t, 4<<10, d.recv.rx[packet.ClassMessages].size, "the window of the other class stays")
	})
}

func TestWindowIsBounded(t *testing.T) {
	for _, test := range []struct {
		name string
		lim  func(l *Limits)
		want uint64
	}{
		{"by the largest window", func(l *Limits) { l.MaxWindow = 20 << 10 }, 16 << 10},
		{"by half the budget", func(l *Limits) { l.Windows = 2*(12<<10+16<<10) - 2 }, 16 << 10},
		{"by more than half the budget", func(l *Limits) { l.Windows = 2 * (12<<10 + 16<<10) }, 32 << 10},
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
					p.wantCredit(1, packet.ClassRaw, "credit is granted")
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

// The window of a stream whose reader keeps up grows to the size of the widest one. If the
// budget is used up, the wider window gives half of it back.
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
				assert.EqualValues(t, credit, p.wantCredit(d.id, packet.ClassRaw, "credit is granted"))
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			assert.EqualValues(t, 2*(4<<10)+4<<10+uint64(wide.recv.rx[packet.ClassRaw].size)+uint64(narrow.recv.rx[packet.ClassRaw].size)+4<<10, m.windows.used)
		}
		use(wide, 0, 2<<10+4<<10)
		use(wide, 0, 4<<10+8<<10)
		use(wide, 0, 8<<10) // the budget is used up
		assert.EqualValues(t, 16<<10, wide.recv.rx[packet.ClassRaw].size)
		use(narrow, time.Minute, 2<<10) // the budget has no room for the narrow window
		use(wide, time.Minute, 0)       // gives half of its window back, which is all of its credit
		assert.EqualValues(t, 8<<10, wide.recv.rx[packet.ClassRaw].size)
		use(narrow, time.Minute, 2<<10+4<<10)
		for range 3 {
			use(wide, time.Minute, 4<<10)
			use(narrow, time.Minute, 4<<10)
		}
	})
}

// The budget gets a window that has grown back when its dialogue ends.
func TestGrownWindowsReturnToTheBudget(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		before := m.windows.used
		measured(t, m, p, time.Hour/4)
		d := openFrom(t, m, p, 3)
		p.writeData(3, 0, 2048, "half a window")
		readBytes(t, d, 2048)
		p.wantCredit(3, packet.ClassRaw, "credit is granted")
		assert.EqualValues(t, before+8<<10+4<<10, m.windows.used)
		d.Reset(packet.Reason{})
		assert.Equal(t, before, m.windows.used)
		p.wantReason(packet.TypeReset, 3, 0, "Reset sends a Reset frame")
	})
}

// The window for messages grows by the same rule.
func TestMessageWindowGrows(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		measured(t, m, p, time.Hour/4)
		const cost = 1920 + charge.MessageOverhead // half a window
		p.writePacket(packet.TypeMessage, 1, 1, 1920, "half a window")
		synctest.Wait()
		m.Main().Release(packet.TypeMessage, 1920)
		assert.EqualValues(t, cost+4<<10, p.wantCredit(1, packet.ClassMessages, "the window doubles"))
	})
}

// Only one Ping is sent until the first round trip is known, for any number of windows. More
// Pings would violate the protocol.
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
		assert.Equal(t, 1, pings, "Pings before the first Pong")
	})
}
