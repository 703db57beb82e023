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

// pathWith returns a path with a round trip of 100 ms whose windows are to have a size.
func pathWith(window uint64) *path {
	const rtt = 100 * time.Millisecond
	p := &path{latest: rtt}
	p.begin(0)
	p.latest = rtt
	p.shortest.now = rtt
	p.rxRate.now = window * 5
	return p
}

const first = 16 << 10 // the first size of the windows of testBudget

// testBudget returns a budget of which half is spare.
func testBudget(limit, most uint64) *windowBudget {
	w := packet.Settings{Raw: first, Messages: first, Small: 1 << 10, MaxFrame: 64 << 10}
	b := newWindowBudget(Limits{Windows: limit, Spare: limit / 2, MaxWindow: most}, w)
	return &b
}

// mustAdd adds a stream.
func mustAdd(t *testing.T, b *windowBudget) packet.Windows {
	t.Helper()
	w, ok := b.add(0)
	assert.True(t, ok)
	return w
}

// use has the peer send n bytes that are read at once, and lets the window grow or shrink. since
// is the time since credit was last due. It returns the size of the window.
func use(t *testing.T, b *windowBudget, f *inflow, p *path, n uint64, since time.Duration) uint32 {
	t.Helper()
	before, used := f.size, b.used
	assert.NoError(t, f.receive(packet.ClassRaw, n))
	f.release(n)
	b.resize(f, packet.ClassRaw, since, p)
	assert.LessOrEqual(t, uint64(f.left)+uint64(f.held), uint64(f.size), "credit that was granted")
	assert.Equal(t, int64(f.size)-int64(before), int64(b.used)-int64(used), "the budget")
	f.grant()
	return f.size
}

func TestWindowGrowsIfItIsUsedInARoundTrip(t *testing.T) {
	const rtt = 100 * time.Millisecond
	b, p := testBudget(64<<20, 64<<20), pathWith(1<<20)
	mustAdd(t, b)
	f := newInflow(first)
	assert.EqualValues(t, first, use(t, b, &f, pathWith(0), 4<<10, 0), "the path is not known")
	assert.EqualValues(t, first, use(t, b, &f, p, 4<<10, rtt), "a quarter in a round trip: there is enough credit")
	assert.EqualValues(t, 2*first, use(t, b, &f, p, 8<<10, rtt), "half in a round trip")
	for range 10 {
		use(t, b, &f, p, uint64(f.size/4), 0)
	}
	assert.EqualValues(t, 1<<20, f.size, "what the path needs")
}

func TestWindowShrinks(t *testing.T) {
	for _, test := range []struct {
		name  string
		path  *path
		since time.Duration // between two quarters of the window
		least uint32
		most  uint32
	}{
		{"if the path needs less", pathWith(200 << 10), 0, 200 << 10, 300 << 10},
		{"if little is used", pathWith(1 << 20), time.Hour, first, first},
		{"not if it is a little too large", pathWith(700 << 10), 0, 1 << 20, 1 << 20},
		{"not if a quarter is used in a round trip", pathWith(1 << 20), 100 * time.Millisecond, 1 << 20, 1 << 20},
		{"not below its least size", pathWith(100), 0, leastWindow, leastWindow * 3 / 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := testBudget(64<<20, 64<<20)
			mustAdd(t, b)
			f := newInflow(first)
			b.grow(&f, 1<<20-first)
			f.grant()
			for range 100 {
				use(t, b, &f, test.path, uint64(f.size/4), test.since)
			}
			assert.GreaterOrEqual(t, f.size, test.least)
			assert.LessOrEqual(t, f.size, test.most)
		})
	}
}

func TestWindowIsBounded(t *testing.T) {
	for _, test := range []struct {
		name        string
		limit, most uint64
		want        uint32
	}{
		{"by the largest window", 8 << 20, 100 << 10, 100 << 10},
		{"by the spare half of the budget", 400 << 10, 8 << 20, 200<<10 + leastWindow - (first - leastWindow)},
		{"by the wire", 64 << 30, 64 << 30, maxCredit},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := testBudget(test.limit, test.most)
			mustAdd(t, b)
			f, p := newInflow(first), pathWith(8<<30)
			for range 40 {
				use(t, b, &f, p, uint64(f.size/4), 0)
			}
			assert.Equal(t, test.want, f.size)
		})
	}
}

// If the budget has no room, a wide window gives parts of it back, and a narrow one grows.
func TestWindowsBecomeEqual(t *testing.T) {
	b, p := testBudget(400<<10, 8<<20), pathWith(8<<20)
	wide, narrow := newInflow(first), newInflow(first)
	mustAdd(t, b)
	mustAdd(t, b)
	for range 20 {
		use(t, b, &wide, p, uint64(wide.size/4), 0)
	}
	assert.EqualValues(t, 200<<10+leastWindow-3*(first-leastWindow), wide.size)
	for range 40 {
		use(t, b, &narrow, p, uint64(narrow.size/4), 0)
		use(t, b, &wide, p, uint64(wide.size/4), 0)
	}
	assert.InEpsilon(t, narrow.size, wide.size, 0.35)
	assert.Zero(t, b.spareRoom(), "the spare part is in use")
}

// The first windows become smaller as streams multiply, and in the end a stream has the least
// windows.
func TestFirstWindows(t *testing.T) {
	const limit = 1 << 20
	b := testBudget(limit, limit)
	var raw []uint32
	for {
		w, ok := b.add(0)
		if !ok {
			break
		}
		assert.LessOrEqual(t, b.used, uint64(limit))
		raw = append(raw, w.Raw)
		if w.Raw >= leastWindow {
			assert.Equal(t, w.Raw, w.Messages, "both are halved together")
		} else {
			assert.Zero(t, w.Messages)
		}
	}
	assert.EqualValues(t, first, raw[0])
	assert.EqualValues(t, leastWindow, raw[limit/wideShare-1])
	assert.EqualValues(t, crowdedRaw, raw[len(raw)-1])
	assert.IsNonIncreasing(t, raw)
	assert.Len(t, raw, limit/streamBytes)
	b.remove(uint64(raw[0]) * 2)
	w := mustAdd(t, b)
	assert.Greater(t, w.Raw, uint32(crowdedRaw), "a stream has ended")
}

// A window grows when the peer uses all of it, and the path was measured.
func TestMuxWindowGrows(t *testing.T) {
	const rtt = 100 * time.Millisecond
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		measured(t, m, p, rtt)
		p.writeData(1, 0, 4096, "the whole window")
		measured(t, m, p, rtt)
		readBytes(t, m.Main(), 4096)
		assert.EqualValues(t, 4096+4096, p.wantCredit(1, packet.ClassRaw, "the window doubles"))
	})
}

// The budget gets a window that has grown back when its dialogue ends.
func TestGrownWindowsReturnToTheBudget(t *testing.T) {
	const rtt = 100 * time.Millisecond
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		before := m.windows.used
		measured(t, m, p, rtt)
		d := openFrom(t, m, p, 3)
		p.writeData(3, 0, 4096, "the whole window")
		measured(t, m, p, rtt)
		readBytes(t, d, 4096)
		p.wantCredit(3, packet.ClassRaw, "credit is granted")
		assert.EqualValues(t, before+8<<10+4<<10, m.windows.used)
		d.Reset(packet.Reason{})
		assert.Equal(t, before, m.windows.used)
		p.wantReason(packet.TypeReset, 3, 0, "Reset sends a Reset frame")
	})
}

// The window for messages grows by the same rule.
func TestMessageWindowGrows(t *testing.T) {
	const rtt = 100 * time.Millisecond
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		measured(t, m, p, rtt)
		const cost = 1920 + charge.MessageOverhead // half a window
		p.writePacket(packet.TypeMessage, 1, 1, 1920, "half a window")
		p.writePacket(packet.TypeMessage, 1, 2, 1920, "the other half")
		measured(t, m, p, rtt)
		m.Main().recv.granted[packet.ClassMessages] = m.c.Now() - rtt
		m.Main().Release(packet.TypeMessage, 1920)
		assert.EqualValues(t, cost+4<<10, p.wantCredit(1, packet.ClassMessages, "the window doubles"))
	})
}

// A burst of windows does not cause a burst of Pings, which would violate the protocol.
func TestFewPings(t *testing.T) {
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
