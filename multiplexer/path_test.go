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

	"github.com/singchia/geminio/packet"
)

// leg is a part of a recorded path.
type leg struct {
	until time.Duration // when the next leg begins
	rate  uint64        // bytes in a second
	rtt   time.Duration
}

// traffic is a sender and a receiver on a recorded path, with a clock of their own that
// advances by a millisecond at a time. The queue in front of the path has no bound.
type traffic struct {
	legs   []leg
	demand func(now time.Duration) bool // whether the sender has bulk data

	now       time.Duration
	tx        path
	waiting   []parcel // in front of the path
	flying    []parcel // on the path
	pongs     []parcel // on their way back
	pings     uint64
	pingTimes []time.Duration
	packets   uint64 // queued is at least this, because packets do not wait
	arrived   uint64 // bytes
	queued    uint64 // bytes in waiting
	leftOver  uint64 // of the rate of the last millisecond
}

// parcel is bytes on a path, or a Ping or Pong.
type parcel struct {
	bytes uint64
	ping  uint64        // the value of a Ping or Pong; 0: none
	at    time.Duration // when it arrives
}

const parcelBytes = 1000

func newTraffic(legs ...leg) *traffic {
	u := &traffic{legs: legs, demand: func(time.Duration) bool { return true }}
	u.tx.begin(0)
	return u
}

// run advances the clock to the time until. It returns the bytes that have arrived meanwhile.
func (u *traffic) run(until time.Duration) uint64 {
	before := u.arrived
	for ; u.now < until; u.now += time.Millisecond {
		for len(u.legs) > 1 && u.now >= u.legs[0].until {
			u.legs = u.legs[1:]
		}
		u.arrive()
		u.send()
		u.carry()
	}
	return u.arrived - before
}

// send sends bulk data as long as the path allows, at most 1 MiB at a time.
func (u *traffic) send() {
	for n := 0; n < 1<<20 && (u.queued < u.packets || u.demand(u.now) && !u.tx.holds(0)); n += parcelBytes {
		u.waiting = append(u.waiting, parcel{bytes: parcelBytes})
		u.queued += parcelBytes
		u.tx.send(parcelBytes)
		u.tx.sendRaw(parcelBytes)
		u.ping()
	}
	u.ping()
}

func (u *traffic) ping() {
	if u.tx.sent >= probeFrom && u.tx.wantsPing(u.now) {
		u.pings++
		u.pingTimes = append(u.pingTimes, u.now)
		u.tx.ping(u.now, u.pings)
		u.waiting = append(u.waiting, parcel{ping: u.pings})
	}
}

// carry moves the bytes of a millisecond from the queue to the path.
func (u *traffic) carry() {
	room := u.legs[0].rate/1000 + u.leftOver
	for len(u.waiting) > 0 && u.waiting[0].bytes <= room {
		p := u.waiting[0]
		u.waiting = u.waiting[1:]
		room -= p.bytes
		u.queued -= p.bytes
		u.flying = u.fly(u.flying, p)
	}
	u.leftOver = 0
	if len(u.waiting) > 0 {
		u.leftOver = room
	}
}

// fly adds a parcel to those that fly in one direction. They keep their order.
func (u *traffic) fly(all []parcel, p parcel) []parcel {
	p.at = u.now + u.legs[0].rtt/2
	if len(all) > 0 {
		p.at = max(p.at, all[len(all)-1].at)
	}
	return append(all, p)
}

// arrive handles the parcels that have arrived at one of the sides.
func (u *traffic) arrive() {
	for ; len(u.flying) > 0 && u.flying[0].at <= u.now; u.flying = u.flying[1:] {
		u.arrived += u.flying[0].bytes
		if u.flying[0].ping > 0 {
			u.pongs = u.fly(u.pongs, u.flying[0])
		}
	}
	for ; len(u.pongs) > 0 && u.pongs[0].at <= u.now; u.pongs = u.pongs[1:] {
		u.tx.pong(u.now, u.pongs[0].ping)
	}
}

// mayWait is the most bytes that may wait in front of the path.
func (l leg) mayWait() uint64 { return max(carried(l.rate, max(l.rtt, txSlack)), leastLimit+l.rate/50) }

const mbit = 1000 * 1000 / 8

// share is the part of the path that was in use.
func share(bytes uint64, rate uint64, d time.Duration) float64 {
	return float64(bytes) / (float64(rate) * d.Seconds())
}

func TestPathIsUsedWithoutALongQueue(t *testing.T) {
	for _, l := range []leg{
		{rate: 10 * mbit, rtt: 40 * time.Millisecond},
		{rate: 100 * mbit, rtt: 20 * time.Millisecond},
		{rate: 100 * mbit, rtt: 300 * time.Millisecond},
		{rate: 400 * mbit, rtt: 100 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(l.rate/mbit, " Mbit/s, ", l.rtt), func(t *testing.T) {
			u := newTraffic(l)
			u.run(10 * time.Second)
			start, worst := u.now, uint64(0)
			var got uint64
			for u.now < start+15*time.Second {
				got += u.run(u.now + 10*time.Millisecond)
				worst = max(worst, u.queued)
			}
			assert.Greater(t, share(got, l.rate, 15*time.Second), 0.95, "the share of the path")
			assert.Less(t, worst, l.mayWait(), "the bytes that wait")
			assert.InDelta(t, l.rtt, u.tx.shortest.get(), float64(5*time.Millisecond), "the shortest round trip")
			assert.InEpsilon(t, l.rate, u.tx.txRate.get(), 0.1, "the rate")
		})
	}
}

func TestPathThatChanges(t *testing.T) {
	for _, test := range []struct {
		name     string
		from, to leg
	}{
		{"longer", leg{rate: 100 * mbit, rtt: 20 * time.Millisecond}, leg{rate: 100 * mbit, rtt: 300 * time.Millisecond}},
		{"three times as long", leg{rate: 100 * mbit, rtt: 100 * time.Millisecond}, leg{rate: 100 * mbit, rtt: 300 * time.Millisecond}},
		{"shorter", leg{rate: 100 * mbit, rtt: 300 * time.Millisecond}, leg{rate: 100 * mbit, rtt: 20 * time.Millisecond}},
		{"slower", leg{rate: 100 * mbit, rtt: 20 * time.Millisecond}, leg{rate: 10 * mbit, rtt: 20 * time.Millisecond}},
		{"faster", leg{rate: 10 * mbit, rtt: 20 * time.Millisecond}, leg{rate: 100 * mbit, rtt: 20 * time.Millisecond}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.from.until = 7 * time.Second
			u := newTraffic(test.from, test.to)
			u.run(12 * time.Second) // 5 seconds after the change
			got := u.run(20 * time.Second)
			assert.Greater(t, share(got, test.to.rate, 8*time.Second), 0.9, "the share of the path, from 5 seconds after the change on")
			assert.Less(t, u.queued, test.to.mayWait(), "the bytes that wait")
			assert.InDelta(t, test.to.rtt, u.tx.shortest.get(), float64(50*time.Millisecond), "the shortest round trip")
		})
	}
}

// The round trip is measured although something waits on the path all the time.
func TestPathIsMeasuredUnderLoad(t *testing.T) {
	l := leg{rate: 100 * mbit, rtt: 100 * time.Millisecond}
	u := newTraffic(l)
	u.run(5 * time.Second)
	for range 10 {
		u.run(u.now + 10*time.Second)
		assert.InDelta(t, l.rtt, u.tx.shortest.get(), float64(2*time.Millisecond), "the shortest round trip of a period")
	}
}

// A sender that has little to send learns nothing about the rate, and forgets nothing.
func TestPathKeepsTheRateOfAnIdleSender(t *testing.T) {
	l := leg{rate: 100 * mbit, rtt: 100 * time.Millisecond}
	u := newTraffic(l)
	u.run(5 * time.Second)
	rate := u.tx.txRate.get()
	u.demand = func(now time.Duration) bool { return now%time.Second < 5*time.Millisecond && !u.tx.holds(200<<10) }
	u.run(60 * time.Second)
	assert.Greater(t, u.tx.txRate.get(), rate*9/10)
	u.demand = func(time.Duration) bool { return true }
	got := u.run(61 * time.Second)
	assert.Greater(t, share(got, l.rate, time.Second), 0.85, "the share of the path in the first second")
}

// On a short path nothing is held.
func TestShortPathHoldsNothing(t *testing.T) {
	var p path
	p.begin(0)
	for i := range uint64(100) {
		now := time.Duration(i) * time.Millisecond
		p.ping(now, i+1)
		p.send(1 << 20)
		p.ping(now, i+200)
		p.pong(now+100*time.Microsecond, i+1)
		assert.False(t, p.holds(1<<30))
	}
}

// The target of windows is twice what the path carries in a round trip, however the bytes
// arrive.
func TestPathWindow(t *testing.T) {
	const rtt = 100 * time.Millisecond
	for _, bursts := range []bool{false, true} {
		var p path
		p.begin(0)
		assert.Zero(t, p.window(), "nothing is known")
		value, answered := uint64(0), uint64(0)
		for now := time.Duration(0); now < 5*time.Second; now += time.Millisecond {
			if sent := value; now%rtt == rtt-1*time.Millisecond && answered < sent {
				answered = sent
				p.pong(now, answered)
			}
			switch {
			case !bursts:
				p.receive(10000)
			case now%rtt == 50*time.Millisecond:
				p.receive(1000000)
			}
			if now%rtt == 0 {
				value++
				p.ping(now, value)
			}
		}
		assert.InEpsilon(t, 2000000, p.window(), 0.03, "bursts: %v", bursts)
	}
}

// A session that continues on another transport knows nothing about its path.
func TestPathBeginsAnew(t *testing.T) {
	u := newTraffic(leg{rate: 100 * mbit, rtt: 100 * time.Millisecond})
	u.run(5 * time.Second)
	assert.Positive(t, u.tx.underWay())
	u.tx.begin(u.now)
	assert.Zero(t, u.tx.underWay())
	assert.Zero(t, u.tx.shortest.get())
	assert.False(t, u.tx.holds(firstLimit-1))
	u.tx.pong(u.now, u.pings)
	assert.Zero(t, u.tx.shortest.get(), "a Pong of the transport before")
}

// Packets alone fill the path, and raw bytes that wait behind them have the path measured: they do
// not wait for the next heartbeat, which is an hour away.
func TestRawBehindPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s := newSetup()
		s.local.MaxMessage, s.peer.MaxMessage = 4*firstLimit, 4*firstLimit
		s.local.Large, s.peer.Large = 8*firstLimit, 8*firstLimit
		ms, _ := s.startPair(t, a, b)
		defer stopPair(ms)
		near, far := openPair(t, ms)
		begin := time.Now()
		require.NoError(t, near.Send(t.Context(), 0, packet.TypeMessage, 1, nil, make([]byte, 2*firstLimit), AtOnce))
		synctest.Wait() // all of it is sent
		_, err := near.Write([]byte("raw"))
		require.NoError(t, err)
		got := make([]byte, 3)
		_, err = io.ReadFull(far, got)
		require.NoError(t, err)
		require.Equal(t, "raw", string(got))
		require.Less(t, time.Since(begin), time.Second)
	})
}

// Packets do not wait, so on a short and fast path far more than the limit may be under way while
// raw bytes wait. The Pings stay below the number that the peer accepts.
func TestPingsHaveABound(t *testing.T) {
	for _, l := range []leg{
		{rate: 400 * mbit, rtt: 2 * time.Millisecond},
		{rate: 1600 * mbit, rtt: 4 * time.Millisecond},
		{rate: 100 * mbit, rtt: 10 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(l.rate/mbit, " Mbit/s, ", l.rtt), func(t *testing.T) {
			u := newTraffic(l)
			u.packets = l.rate / 100
			u.run(12 * time.Second)
			worst := 0
			for i, first := 0, 0; i < len(u.pingTimes); i++ {
				for u.pingTimes[i]-u.pingTimes[first] >= time.Second {
					first++
				}
				worst = max(worst, i-first+1)
			}
			assert.Less(t, worst, 800, "Pings in a second")
		})
	}
}

// The peer answers the last of several Pings, which went out without frames of the Mux and is
// not recorded.
func TestPongOfAnotherPing(t *testing.T) {
	var p path
	p.begin(0)
	p.send(probeFrom)
	p.sendRaw(probeFrom)
	require.True(t, p.wantsPing(1))
	p.ping(1, 1)
	p.send(2 * firstLimit)
	p.sendRaw(firstLimit)
	require.True(t, p.holds(0))
	p.pong(time.Millisecond, 2)
	require.True(t, p.holds(0))
	require.True(t, p.wantsPing(time.Millisecond), "no Pong is to come")
	p.pong(2*time.Millisecond, 3)
	require.True(t, p.wantsPing(2*time.Millisecond), "the Ping was sent, and is not recorded")
}
